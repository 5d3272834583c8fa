// What is to be computed: validated geometry. Every rule about arguments and every message about
// them lives in problem.cpp; a Conv2d or Pool2d that exists is valid, and code below only asserts.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace convpool {

using Index = std::int64_t;
using Pair = std::array<Index, 2>;  // height, width
using Shape = std::vector<Index>;

// Accepted in a signature, not built yet: NotImplementedError in Python.
struct Unsupported : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class Layout { nchw, nhwc };

struct Padding {
  enum class Rule { given, same, same_lower, full };
  Rule rule = Rule::given;
  Pair before{0, 0};
  Pair after{0, 0};
};

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

  Index cell(Index o, Index t) const { return o * stride + t * dilation - pad_before; }
};

struct Range {
  Index begin, end;
  Index size() const { return end - begin; }
};

inline Index ceil_div(Index a, Index b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

// Outputs whose tap t reads a cell of the input, not padding.
inline Range outputs_inside(const Axis& axis, Index t) {
  const Index first = ceil_div(-axis.cell(0, t), axis.stride);
  const Index last = ceil_div(axis.in - axis.cell(0, t), axis.stride);
  const Index begin = std::clamp<Index>(first, 0, axis.out);
  return {begin, std::clamp<Index>(last, begin, axis.out)};
}

// Taps of output o that read cells [begin, end).
inline Range taps_inside(const Axis& axis, Index o, Range cells) {
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
  double pad_value = 0;
};

struct Conv2d {
  Index batch = 0, in_channels = 0, out_channels = 0, groups = 1;
  Axis h, w;
  double pad_value = 0;

  Index group_in() const { return in_channels / groups; }
  Index group_out() const { return out_channels / groups; }
  Index in_plane() const { return h.in * w.in; }
  Index pixels() const { return h.out * w.out; }
  Index window() const { return h.kernel * w.kernel; }
  Index taps() const { return group_in() * window(); }  // terms of one sum
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
  double pad_value = 0;
};

struct Pool2d {
  Index planes = 0;  // batch * channels
  Axis h, w;
  bool count_include_pad = true;
  Index divisor = 0;  // 0: the number of cells that count
  double pad_value = 0;
};

// The four sizes of a stack of images; batched is false for a three-dimensional array.
struct Images {
  Index batch = 1, channels = 0, height = 0, width = 0;
  bool batched = true;
  Layout layout = Layout::nchw;

  Shape shape() const;  // as the user sees it
};

Layout parse_layout(const std::string& word);
void check_pad_mode(const std::string& word);
void check_precision(const std::string& word);
void check_threads(Index threads);

Images parse_images(const char* name, const Shape& shape, Layout layout);
Images with_channels(const Images& images, Index channels, Index height, Index width);
void check_shape(const char* name, const Shape& actual, const Shape& expected);

Conv2d make_conv2d(const Images& x, const Shape& weight, const Geometry& geometry);

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

std::string to_string(const Shape& shape);

}  // namespace convpool
