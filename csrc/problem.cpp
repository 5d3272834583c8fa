#include "problem.hpp"

#include <cassert>
#include <initializer_list>

namespace convpool {
namespace {

// Sizes and steps stay below this, so that sums of a few of them cannot overflow an Index and only
// products need checks.
constexpr Index largest = Index{1} << 40;

const char* const axis_names[2] = {"height", "width"};
const char* const pad_mode_names[5] = {"constant", "reflect", "symmetric", "edge", "wrap"};

[[noreturn]] void fail(const std::string& message) { throw std::invalid_argument(message); }

std::string str(Index number) { return std::to_string(number); }

std::string str(const Pair& pair) { return "(" + str(pair[0]) + ", " + str(pair[1]) + ")"; }

// "1 + 5 - 2": the parts of a padded size.
std::string sum_of(Index before, Index in, Index after) {
  const auto term = [](Index value) {
    return value < 0 ? " - " + str(-value) : " + " + str(value);
  };
  return str(before) + term(in) + term(after);
}

void check_at_least(const char* name, Index value, Index least) {
  if (value < least) fail(std::string(name) + " must be at least " + str(least) + ", got " + str(value));
  if (value > largest) fail(std::string(name) + " must be at most " + str(largest) + ", got " + str(value));
}

void check_at_least(const char* name, const Pair& pair, Index least) {
  for (int a = 0; a < 2; ++a) {
    if (pair[a] >= least && pair[a] <= largest) continue;
    check_at_least((std::string(name) + " " + axis_names[a]).c_str(), pair[a], least);
  }
}

Index checked_product(const char* what, std::initializer_list<Index> factors) {
  Index product = 1;
  for (Index factor : factors) {
    if (__builtin_mul_overflow(product, factor, &product)) {
      fail(std::string(what) + " would have more than 2^63 bytes");
    }
  }
  return product;
}

// Bytes of float64, the widest type, so that no later product of these sizes can overflow.
void check_size(const char* what, Index a, Index b, Index c, Index d) {
  constexpr Index small = Index{1} << 15;
  if (std::max({a, b, c, d}) < small) return;  // at least half of a small call's checks
  // A zero factor must not hide an overflow of the others: they are multiplied in code below.
  const auto at_least_one = [](Index size) { return std::max<Index>(size, 1); };
  checked_product(what, {8, at_least_one(a), at_least_one(b), at_least_one(c), at_least_one(d)});
}

Index extent(const char* axis, Index kernel, Index dilation) {
  Index span;
  if (__builtin_mul_overflow(kernel - 1, dilation, &span) || span >= 4 * largest) {
    fail("kernel " + std::string(axis) + " " + str(kernel) + " with dilation " + str(dilation) +
         " is out of range");
  }
  return span + 1;
}

// Paddings for which every input size gives  ceil(in / stride)  outputs.
void pad_same(Axis& axis, Index span, bool odd_cell_at_end) {
  const Index total = std::max<Index>(0, (axis.out - 1) * axis.stride + span - axis.in);
  axis.pad_before = odd_cell_at_end ? total / 2 : total - total / 2;
  axis.pad_after = total - axis.pad_before;
}

// As numpy.pad: without a cell there is nothing to repeat.
void check_extensible(const char* name, const Axis& axis) {
  if (axis.pad_mode != PadMode::constant && axis.in == 0 &&
      (axis.pad_before > 0 || axis.pad_after > 0)) {
    fail(std::string("pad_mode='") + pad_mode_names[static_cast<int>(axis.pad_mode)] +
         "' cannot extend an input " + name + " of 0");
  }
}

Axis make_axis(int a, Index in, Index kernel, Index stride, Index dilation,
               const Padding& padding, PadMode pad_mode, bool ceil_mode) {
  const char* name = axis_names[a];
  Axis axis{in, kernel, stride, dilation, padding.before[a], padding.after[a], 0, pad_mode};
  const Index span = extent(name, kernel, dilation);

  if (padding.rule == Padding::Rule::same || padding.rule == Padding::Rule::same_lower) {
    axis.out = ceil_div(in, stride);
    pad_same(axis, span, padding.rule == Padding::Rule::same);
    check_extensible(name, axis);
    return axis;
  }
  if (padding.rule == Padding::Rule::full) axis.pad_before = axis.pad_after = span - 1;

  const Index padded = axis.pad_before + in + axis.pad_after;
  // ONNX and PyTorch: ceil_mode adds a last window that overhangs by less than a stride, if it
  // starts before the end of the input.
  const Index end = axis.pad_before + in + std::min<Index>(axis.pad_after, 0);
  const Index whole = padded < span ? 0 : quotient(padded - span, stride) + 1;
  const Index missing = whole * stride + span - padded;
  const bool overhang = ceil_mode && missing < stride && whole * stride < end;
  axis.out = whole + overhang;
  check_extensible(name, axis);
  if (axis.out == 0) {
    const std::string taps =
        dilation > 1 ? " (" + str(kernel) + " taps, dilation " + str(dilation) + ")" : "";
    fail("kernel " + std::string(name) + " " + str(span) + taps + " exceeds the padded input " +
         name + " " + str(padded) + " (" + sum_of(axis.pad_before, in, axis.pad_after) + ")");
  }
  return axis;
}

void check_padding(const Padding& padding) {
  for (const Pair& pair : {padding.before, padding.after}) {
    for (Index cells : pair) {
      if (cells > largest || cells < -largest) {
        fail("padding must be between -" + str(largest) + " and " + str(largest) + ", got " +
             str(cells));
      }
    }
  }
}

void check_images(const char* name, const Images& x) {
  for (Index size : {x.batch, x.channels, x.height, x.width}) {
    if (size < 0 || size > largest) {
      fail(std::string(name) + " must have sizes from 0 to " + str(largest) + ", got shape " +
           to_string(x.shape()));
    }
  }
  check_size(name, x.batch, x.channels, x.height, x.width);
}

void check_weight(const Shape& weight) {
  if (weight.size() != 4) {
    fail("weight must be 4-D, (C_out, C_in / groups, kh, kw), got " + str(weight.size()) +
         "-D with shape " + to_string(weight));
  }
  check_at_least("output channels of weight", weight[0], 0);
  check_at_least("input channels of weight", weight[1], 0);
  check_at_least("kernel", Pair{weight[2], weight[3]}, 1);
  check_size("weight or kernel_size", weight[0], weight[1], weight[2], weight[3]);
}

void check_geometry(const Geometry& geometry) {
  check_at_least("stride", geometry.stride, 1);
  check_at_least("dilation", geometry.dilation, 1);
  check_at_least("groups", geometry.groups, 1);
  check_padding(geometry.padding);
}

void check_divides(const char* name, Index groups, Index channels) {
  if (channels % groups != 0) {
    fail(std::string(name) + " (" + str(channels) + ") must be a multiple of groups (" +
         str(groups) + ")");
  }
}

void check_sizes(const Conv2d& p) {
  check_size("the result", p.batch, p.out_channels, p.h.out, p.w.out);
  check_size("the columns", p.batch, p.in_channels, p.h.kernel * p.w.kernel,
             checked_product("the columns", {p.h.out, p.w.out}));
}

}  // namespace

Index shown_by_padding(const Axis& axis, Index cell) {
  const Index n = axis.in;
  const auto remainder = [cell](Index period) { return (cell % period + period) % period; };
  switch (axis.pad_mode) {
    case PadMode::constant: return -1;
    case PadMode::edge: return std::clamp<Index>(cell, 0, n - 1);
    case PadMode::wrap: return remainder(n);
    case PadMode::symmetric: {
      const Index r = remainder(2 * n);
      return r < n ? r : 2 * n - 1 - r;
    }
    case PadMode::reflect: {
      if (n == 1) return 0;
      const Index r = remainder(2 * n - 2);
      return r < n ? r : 2 * n - 2 - r;
    }
  }
  return -1;
}

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

Shape Images::shape() const {
  const Shape all = layout == Layout::nchw ? Shape{batch, channels, height, width}
                                           : Shape{batch, height, width, channels};
  return {all.begin() + (batched ? 0 : 1), all.end()};
}

Layout parse_layout(std::string_view word) {
  if (word == "NCHW") return Layout::nchw;
  if (word == "NHWC") return Layout::nhwc;
  fail("layout must be 'NCHW' or 'NHWC', got '" + std::string(word) + "'");
}

PadMode parse_pad_mode(std::string_view word) {
  for (int mode = 0; mode < 5; ++mode) {
    if (word == pad_mode_names[mode]) return static_cast<PadMode>(mode);
  }
  fail("pad_mode must be 'constant', 'reflect', 'symmetric', 'edge' or 'wrap', got '" + std::string(word) + "'");
}

bool allows_less_precision(std::string_view word) {
  if (word != "highest" && word != "high" && word != "medium") {
    fail("precision must be 'highest', 'high' or 'medium', got '" + std::string(word) + "'");
  }
  return word != "highest";
}

int parse_threads(const char* name, Index threads) {
  check_at_least(name, threads, 1);
  return static_cast<int>(std::min<Index>(threads, 1024));
}

Images parse_images(const char* name, const Shape& shape, Layout layout) {
  if (shape.size() != 3 && shape.size() != 4) {
    const char* accepted = layout == Layout::nchw ? "4-D, (N, C, H, W), or 3-D, (C, H, W)"
                                                  : "4-D, (N, H, W, C), or 3-D, (H, W, C)";
    fail(std::string(name) + " must be " + accepted + ", got " + str(shape.size()) +
         "-D with shape " + to_string(shape));
  }
  Images x;
  x.layout = layout;
  x.batched = shape.size() == 4;
  const Index* sizes = shape.data();
  if (x.batched) x.batch = *sizes++;
  const int channel_axis = layout == Layout::nchw ? 0 : 2;
  x.channels = sizes[channel_axis];
  x.height = sizes[channel_axis == 0 ? 1 : 0];
  x.width = sizes[channel_axis == 0 ? 2 : 1];
  check_images(name, x);
  return x;
}

Images with_channels(const Images& images, Index channels, Index height, Index width) {
  return {images.batch, channels, height, width, images.batched, images.layout};
}

void check_shape(const char* name, const Shape& actual, const Shape& expected) {
  if (actual != expected) {
    fail(std::string(name) + " must have shape " + to_string(expected) + ", got " +
         to_string(actual));
  }
}

Conv2d make_conv2d(const Images& x, const Shape& weight, const Geometry& geometry) {
  check_weight(weight);
  check_geometry(geometry);
  const Index groups = geometry.groups;
  check_divides("the output channels", groups, weight[0]);
  if (weight[1] > largest / groups || weight[1] * groups != x.channels) {
    fail("x has " + str(x.channels) + " channels, but weight of shape " + to_string(weight) +
         " with groups=" + str(groups) + " takes " + str(weight[1]) + " x " + str(groups));
  }
  Conv2d p;
  p.batch = x.batch;
  p.in_channels = x.channels;
  p.out_channels = weight[0];
  p.groups = groups;
  p.pad_value = geometry.pad_value;
  p.h = make_axis(0, x.height, weight[2], geometry.stride[0], geometry.dilation[0],
                  geometry.padding, geometry.pad_mode, false);
  p.w = make_axis(1, x.width, weight[3], geometry.stride[1], geometry.dilation[1],
                  geometry.padding, geometry.pad_mode, false);
  check_sizes(p);
  return p;
}

Conv2d make_weights(const Shape& weight, Index groups) {
  check_weight(weight);
  check_at_least("groups", groups, 1);
  check_divides("the output channels", groups, weight[0]);
  check_size("weight", weight[1], groups, 1, 1);
  Conv2d p;
  p.in_channels = weight[1] * groups;
  p.out_channels = weight[0];
  p.groups = groups;
  p.h.kernel = weight[2];
  p.w.kernel = weight[3];
  return p;
}

Conv2d make_conv2d_for_weight(const Images& x, Index out_channels, Pair kernel,
                              const Geometry& geometry) {
  check_geometry(geometry);
  check_divides("the channels of x", geometry.groups, x.channels);
  return make_conv2d(x, {out_channels, x.channels / geometry.groups, kernel[0], kernel[1]},
                     geometry);
}

Conv2d make_conv2d_transpose(const Images& x, const Shape& weight, const Geometry& geometry,
                             Pair output_padding) {
  check_weight(weight);
  check_geometry(geometry);
  const Index groups = geometry.groups;
  if (weight[0] != x.channels) {
    fail("x has " + str(x.channels) + " channels, but weight of shape " + to_string(weight) +
         " takes " + str(weight[0]));
  }
  check_divides("the channels of x", groups, x.channels);
  check_size("the result", x.batch, weight[1], groups, 1);

  using Rule = Padding::Rule;
  const Rule rule = geometry.padding.rule;
  const bool same = rule == Rule::same || rule == Rule::same_lower;
  check_at_least("output_padding", output_padding, 0);
  Axis axes[2];
  for (int a = 0; a < 2; ++a) {
    const std::string name = axis_names[a];
    const Index out = a == 0 ? x.height : x.width;
    const Index stride = geometry.stride[a], dilation = geometry.dilation[a];
    const Index span = extent(axis_names[a], weight[2 + a], dilation);
    if (output_padding[a] >= std::max(stride, dilation)) {
      fail("output_padding " + name + " " + str(output_padding[a]) +
           " must be smaller than the stride " + str(stride) + " or the dilation " + str(dilation));
    }
    if (same && output_padding[a] != 0) {
      fail("output_padding must be 0 with padding='same', which fixes the result's size, got " +
           str(output_padding));
    }
    Axis& axis = axes[a];
    axis = {0, weight[2 + a], stride, dilation, geometry.padding.before[a],
            geometry.padding.after[a], out, PadMode::constant};
    const Index steps = checked_product("the result", {8, out > 0 ? out - 1 : 0, stride}) / 8;
    if (same) {
      axis.in = checked_product("the result", {out, stride});
      pad_same(axis, span, rule == Rule::same);
    } else {
      if (rule == Rule::full) axis.pad_before = axis.pad_after = span - 1;
      const Index unpadded = out > 0 ? steps + span : 0;
      if (unpadded > 8 * largest) fail("the result's " + name + " is out of range");
      axis.in = unpadded - axis.pad_before - axis.pad_after + output_padding[a];
      if (axis.in < 0) {
        fail("padding " + str(axis.pad_before) + " + " + str(axis.pad_after) +
             " exceeds the result's " + name + " " + str(unpadded + output_padding[a]));
      }
    }
  }
  Conv2d p;
  p.batch = x.batch;
  p.in_channels = weight[1] * groups;
  p.out_channels = x.channels;
  p.groups = groups;
  p.h = axes[0];
  p.w = axes[1];
  check_size("the result", p.batch, p.in_channels, p.h.in, p.w.in);
  check_sizes(p);
  return p;
}

Conv2d make_windows(const Images& x, Pair kernel, const Geometry& geometry) {
  return make_conv2d(x, {1, x.channels, kernel[0], kernel[1]}, geometry);
}

Pool2d make_pool2d(const Images& x, Pair kernel, const PoolOptions& options) {
  check_at_least("kernel_size", kernel, 1);
  check_at_least("stride", options.stride, 1);
  check_at_least("dilation", options.dilation, 1);
  check_padding(options.padding);
  if (options.divisor) check_at_least("divisor_override", *options.divisor, 1);
  Pool2d p;
  p.batch = x.batch;
  p.channels = x.channels;
  p.h = make_axis(0, x.height, kernel[0], options.stride[0], options.dilation[0], options.padding,
                  options.pad_mode, options.ceil_mode);
  p.w = make_axis(1, x.width, kernel[1], options.stride[1], options.dilation[1], options.padding,
                  options.pad_mode, options.ceil_mode);
  p.count_include_pad = options.count_include_pad;
  p.divisor = options.divisor.value_or(0);
  p.pad_value = options.pad_value;
  check_size("the result", x.batch, x.channels, p.h.out, p.w.out);
  checked_product("kernel_size", {8, kernel[0], kernel[1]});
  return p;
}

Pool2d make_adaptive_pool2d(const Images& x, Pair output_size) {
  check_at_least("output_size", output_size, 0);
  Pool2d p;
  p.batch = x.batch;
  p.channels = x.channels;
  p.adaptive = true;
  for (int a = 0; a < 2; ++a) {
    Axis& axis = a == 0 ? p.h : p.w;
    axis.in = a == 0 ? x.height : x.width;
    axis.out = output_size[a];
    if (axis.in == 0 && axis.out > 0) {
      fail(std::string("x of ") + axis_names[a] + " 0 has no cells for an output of " +
           str(output_size));
    }
    checked_product("the windows", {axis.in, axis.out + 1});
  }
  // Windows of one size side by side are those of a plain pool.
  if (p.h.out > 0 && p.w.out > 0 && p.h.in % p.h.out == 0 && p.w.in % p.w.out == 0) {
    p.adaptive = false;
    for (Axis* axis : {&p.h, &p.w}) axis->kernel = axis->stride = axis->in / axis->out;
  }
  check_size("the result", x.batch, x.channels, p.h.out, p.w.out);
  return p;
}

}  // namespace convpool
