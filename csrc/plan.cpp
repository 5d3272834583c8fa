#include "plan.hpp"

#include "gemm.hpp"
#include "scratch.hpp"

namespace convpool {
namespace {

// Columns of this many bytes are written, packed and forgotten: small enough for a second- or
// third-level cache, large enough that the left operand is not read too often.
constexpr Index columns_bytes = Index{1} << 20;

// Weights that meet at most this many panels of pixels are not worth packing.
constexpr Index few_panels = 16;

// Measured crossovers, float32 and float64 alike. With several output channels a group the matrix
// product wins from the smallest size on; with one, columns are copied to be read only once. The
// batch does not count, so that an image's bits do not depend on its company.
const char* reason_for_direct(const Conv2d& p, Operation operation) {
  if (p.group_out() > 1) return nullptr;
  switch (operation) {
    case Operation::forward:
      return p.image_multiply_adds() < 4000 ? "one small output channel a group" : nullptr;
    case Operation::grad_input: return "one output channel a group";
    case Operation::grad_weight:
      return p.taps() < 16 ? "one output channel a group and few taps" : nullptr;
  }
  return nullptr;
}

template <class T>
Plan plan_direct(const Conv2d& p, Operation operation, const char* reason) {
  Plan plan{Algorithm::direct, reason, "base", 1, 1};
  if (operation == Operation::forward) plan.scratch_bytes = Scratch::bytes<double>(p.w.out);
  if (operation == Operation::grad_input) plan.scratch_bytes = Scratch::bytes<double>(p.in_plane());
  return plan;
}

// Rows of columns whole vectors long and an odd number of cache lines apart, so that the rows of a
// panel spread over all sets of the first-level cache.
template <class T>
Index spread_rows(Index pixels, Index nr) {
  constexpr Index line = 64 / sizeof(T);
  const Index ld = round_up(round_up(pixels, nr), line);
  return ld / line % 2 ? ld : ld + line;
}

template <class T>
Plan plan_im2col(const Conv2d& p, Operation operation, const char* reason) {
  const Index taps = p.taps(), channels = p.group_out();
  const GemmKernel<T>& kernel =
      gemm_kernel<T>(operation == Operation::grad_input ? taps : channels);
  const Index nr = kernel.nr;
  Plan plan{Algorithm::im2col, reason, active_kernels().name, kernel.mr, nr};
  const bool in_place = columns_are_input(p);

  // The weight gradient also packs its left operand, dy, a block of pixels at a time.
  const bool by_block = operation == Operation::grad_weight;
  const Index height = std::max({Index{1}, in_place ? 0 : taps, by_block ? channels : 0});
  const Index fitting = columns_bytes / (height * Index{sizeof(T)});
  plan.pixel_block = std::min(std::max(fitting / nr, Index{1}) * nr, p.pixels());
  if (in_place && !by_block) plan.pixel_block = p.pixels();

  if (!in_place) {
    plan.columns_ld = spread_rows<T>(plan.pixel_block, nr);
    plan.columns = taps * plan.columns_ld;
  }
  switch (operation) {
    case Operation::forward:
      plan.left_in_place = p.batch * ceil_div(p.pixels(), nr) <= few_panels;
      if (!plan.left_in_place) plan.left = left_size<T>(channels, taps);
      if (in_place) plan.right = right_size<T>(channels, plan.pixel_block, taps);
      break;
    case Operation::grad_input:
      plan.left = left_size<T>(taps, channels);
      plan.right = right_size<T>(taps, plan.pixel_block, channels);
      break;
    case Operation::grad_weight:
      plan.left = left_size<T>(channels, plan.pixel_block);
      plan.right = right_size<T>(channels, taps, plan.pixel_block);
      break;
  }
  for (Index part : {plan.left, plan.columns, plan.right}) {
    plan.scratch_bytes += Scratch::bytes<T>(part);
  }
  return plan;
}

}  // namespace

bool columns_are_input(const Conv2d& p) {
  const auto one = [](const Axis& a) {
    return a.kernel == 1 && a.stride == 1 && a.pad_before == 0 && a.pad_after == 0 &&
           a.in == a.out;  // not so for a transposed convolution with output_padding
  };
  return one(p.h) && one(p.w);
}

template <class T>
Plan plan_conv2d(const Conv2d& p, Operation operation, const std::string& request) {
  if (request == "direct") return plan_direct<T>(p, operation, "requested");
  if (request == "im2col") return plan_im2col<T>(p, operation, "requested");
  if (request == "auto") {
    const char* reason = reason_for_direct(p, operation);
    return reason ? plan_direct<T>(p, operation, reason)
                  : plan_im2col<T>(p, operation, "columns are shared or many");
  }
  for (const char* known : {"implicit_gemm", "winograd", "fft"}) {
    if (request == known) throw Unsupported("algorithm='" + request + "' is not implemented yet");
  }
  throw std::invalid_argument(
      "algorithm must be 'auto', 'direct', 'im2col', 'implicit_gemm', 'winograd' or 'fft', got '" +
      request + "'");
}

template Plan plan_conv2d<float>(const Conv2d&, Operation, const std::string&);
template Plan plan_conv2d<double>(const Conv2d&, Operation, const std::string&);
template Plan plan_conv2d<std::uint64_t>(const Conv2d&, Operation, const std::string&);

}  // namespace convpool
