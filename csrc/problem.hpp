// What is to be computed: validated geometry. Every rule about arguments and every message about
// them lives in problem.cpp; a Conv2d or Pool2d that exists is valid, and code below only asserts.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "shape.hpp"

namespace convpool {

using Pair = std::array<Index, 2>;  // height, width

// Accepted in a signature, not built yet: NotImplementedError in Python.
struct Unsupported : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class Layout { nchw, nhwc };

// numpy.pad's words.
enum class PadMode { constant, reflect, symmetric, edge, wrap };

struct Padding {
  enum class Rule { given, same, same_lower, full };
  Rule rule = Rule::given;
  Pair before{0, 0};
  Pair after{0, 0};
};

struct Range {
  Index begin, end;
  Index size() const { return end - begin; }
};

// Empty ones lie inside b too.
inline Range intersection(Range a, Range b) {
  const Index begin = std::clamp(a.begin, b.begin, b.end);
  return {begin, std::clamp(a.end, begin, b.end)};
}

// Strides, dilations and groups are mostly 1, and divisions were a tenth of a small call.
inline Index quotient(Index a, Index b) { return b == 1 ? a : a / b; }
inline Index ceil_div(Index a, Index b) { return a >= 0 ? quotient(a + b - 1, b) : -quotient(-a, b); }

// One spatial axis. Tap t of output o reads input cell  o*stride + t*dilation - pad_before.
//
//       pad_before         in           pad_after
//      |----------|====================|---------|
//       t=0 . t=1 . t=2                             o = 0, dilation 2, kernel 3
//           t=0 . t=1 . t=2                         o = 1, stride 4
struct Axis {
  Index in = 0;
  Index kernel = 1;
  Index stride = 1;
  Index dilation = 1;
  Index pad_before = 0;
  Index pad_after = 0;
  Index out = 0;
  PadMode pad_mode = PadMode::constant;

  Index cell(Index o, Index t) const { return o * stride + t * dilation - pad_before; }
  // Most taps of all outputs that read the same cell of the padded input: every so many of them do.
  Index taps_of_cell() const { return ceil_div(kernel, quotient(stride, std::gcd(stride, dilation))); }

  // Cells that hold data: the input without what negative padding crops.
  Range data() const {
    return {std::max<Index>(0, -pad_before), in + std::min<Index>(0, pad_after)};
  }
  // Cells of the input with its padding; a window of ceil_mode may reach further.
  Range padded() const { return {-pad_before, in + pad_after}; }
};

// The cell of the input that a cell of the padding shows, or -1 for constant padding. The modes
// extend the input without end; padding, or cropping, says how much of that is seen.
Index shown_by_padding(const Axis& axis, Index cell);

inline Index shown_cell(const Axis& axis, Index cell) {
  return cell >= 0 && cell < axis.in ? cell : shown_by_padding(axis, cell);
}

// Outputs whose tap t reads one of these cells.
inline Range outputs_reading(const Axis& axis, Index t, Range cells) {
  const Index first = ceil_div(cells.begin - axis.cell(0, t), axis.stride);
  const Index last = ceil_div(cells.end - axis.cell(0, t), axis.stride);
  const Index begin = std::clamp<Index>(first, 0, axis.out);
  return {begin, std::clamp<Index>(last, begin, axis.out)};
}

// Taps of output o that read a cell of the input, not padding.
inline Range taps_inside(const Axis& axis, Index o) {
  const Index first = axis.cell(o, 0);
  const Index begin = std::clamp<Index>(ceil_div(-first, axis.dilation), 0, axis.kernel);
  return {begin, std::clamp<Index>(ceil_div(axis.in - first, axis.dilation), begin, axis.kernel)};
}

// Outputs whose tap t reads a cell of the input, not padding.
inline Range outputs_inside(const Axis& axis, Index t) {
  return outputs_reading(axis, t, {0, axis.in});
}

// Whether every window lies inside of the input.
inline bool stays_inside(const Axis& axis) {
  return axis.cell(0, 0) >= 0 && axis.cell(axis.out - 1, axis.kernel - 1) < axis.in;
}

// Taps of output o that read one of these cells.
inline Range taps_reading(const Axis& axis, Index o, Range cells) {
  const Index first = ceil_div(cells.begin - axis.cell(o, 0), axis.dilation);
  const Index last = ceil_div(cells.end - axis.cell(o, 0), axis.dilation);
  const Index begin = std::clamp<Index>(first, 0, axis.kernel);
  return {begin, std::clamp<Index>(last, begin, axis.kernel)};
}

struct Geometry {
  Pair stride{1, 1};
  Padding padding;
  Pair dilation{1, 1};
  Index groups = 1;
  PadMode pad_mode = PadMode::constant;
  double pad_value = 0;
};

struct Conv2d {
  Index batch = 0, in_channels = 0, out_channels = 0, groups = 1;
  Axis h, w;
  double pad_value = 0;
  // The user's arrays have their channels last. Plans alone ask, and say whether these stay there.
  bool channels_last = false;

  Index group_in() const { return quotient(in_channels, groups); }
  Index group_out() const { return quotient(out_channels, groups); }
  Index in_plane() const { return h.in * w.in; }
  Index pixels() const { return h.out * w.out; }
  Index window() const { return h.kernel * w.kernel; }
  Index taps() const { return group_in() * window(); }  // terms of one sum
  // The same of the input gradient, without what padding modes show again.
  Index gradient_terms() const { return group_out() * h.taps_of_cell() * w.taps_of_cell(); }
  double image_multiply_adds() const {
    return static_cast<double>(out_channels) * pixels() * taps();
  }
};

struct PoolOptions {
  Pair stride{1, 1};
  Padding padding;
  Pair dilation{1, 1};
  bool ceil_mode = false;
  bool count_include_pad = true;
  std::optional<Index> divisor;
  PadMode pad_mode = PadMode::constant;
  double pad_value = 0;
};

enum class Extremum { maximum, minimum };

struct Pool2d {
  Index batch = 0, channels = 0;
  Axis h, w;
  bool adaptive = false;  // windows share out the input: stride, kernel and padding mean nothing
  bool count_include_pad = true;
  Index divisor = 0;  // 0: the number of cells that count
  double pad_value = 0;
  // Numbers of a cell: all channels of images that have them last, which are one plane then.
  Index depth = 1;

  Index planes() const { return batch * channels; }
  Index in_row() const { return w.in * depth; }
  Index out_row() const { return w.out * depth; }
};

// The four sizes of a stack of images; batched is false for a three-dimensional array.
struct Images {
  Index batch = 1, channels = 0, height = 0, width = 0;
  bool batched = true;
  Layout layout = Layout::nchw;

  Shape shape() const;  // as the user sees it
};

Layout parse_layout(std::string_view word);
PadMode parse_pad_mode(std::string_view word);
// False for "highest".
bool allows_less_precision(std::string_view word);
int parse_threads(const char* name, Index threads);

Images parse_images(const char* name, const Shape& shape, Layout layout);
inline Images channels_first(Images images) {
  images.layout = Layout::nchw;
  return images;
}
Images with_channels(const Images& images, Index channels, Index height, Index width);
void check_shape(const char* name, const Shape& actual, const Shape& expected);

Conv2d make_conv2d(const Images& x, const Shape& weight, const Geometry& geometry);

// The weights alone, of any image: channels, groups and kernel of a convolution.
Conv2d make_weights(const Shape& weight, Index groups);

// The convolution whose weight gradient takes these images.
Conv2d make_conv2d_for_weight(const Images& x, Index out_channels, Pair kernel,
                              const Geometry& geometry);

// The convolution whose input gradient is the transposed convolution of x; weight is
// (C_in, C_out/groups, kh, kw) with C_in the channels of x.
Conv2d make_conv2d_transpose(const Images& x, const Shape& weight, const Geometry& geometry,
                             Pair output_padding);

// The windows alone, for im2col and col2im: a convolution with one output channel.
Conv2d make_windows(const Images& x, Pair kernel, const Geometry& geometry);

Pool2d make_pool2d(const Images& x, Pair kernel, const PoolOptions& options);
// Window i of n cells into m: floor(i*n/m) ... ceil((i+1)*n/m).
Pool2d make_adaptive_pool2d(const Images& x, Pair output_size);

std::string to_string(const Shape& shape);

}  // namespace convpool
