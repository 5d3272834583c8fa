#include "plan.hpp"

#include "gemm.hpp"
#include "scratch.hpp"

namespace convpool {
namespace {

// Columns of this many bytes are written, packed and forgotten: small enough for a second- or
// third-level cache, large enough that the left operand is not read too often.
constexpr Index columns_bytes = Index{1} << 20;

// Below this many multiply-adds, packing costs more than the plain loops.
constexpr double small_problem = 2000;

template <class T>
Plan plan_direct(const Conv2d& p, Operation operation, const char* reason) {
  Plan plan{Algorithm::direct, reason, "base", 1, 1};
  if (operation == Operation::forward) plan.scratch_bytes = Scratch::bytes<double>(p.w.out);
  if (operation == Operation::grad_input) plan.scratch_bytes = Scratch::bytes<double>(p.in_plane());
  return plan;
}

template <class T>
Plan plan_im2col(const Conv2d& p, Operation operation, const char* reason) {
  const Index mr = gemm_kernel<T>().mr, nr = gemm_kernel<T>().nr;
  Plan plan{Algorithm::im2col, reason, active_kernels().name, mr, nr};
  const Index taps = p.taps(), channels = p.group_out();
  const bool in_place = columns_are_input(p);

  // The weight gradient also packs its left operand, dy, a block of pixels at a time.
  const bool by_block = operation == Operation::grad_weight;
  const Index height = std::max({Index{1}, in_place ? 0 : taps, by_block ? channels : 0});
  const Index fitting = columns_bytes / (height * Index{sizeof(T)});
  plan.pixel_block = std::min(std::max(fitting / nr, Index{1}) * nr, p.pixels());
  if (in_place && !by_block) plan.pixel_block = p.pixels();

  if (!in_place) plan.columns = taps * plan.pixel_block;
  // Products that read the same left operand: one each column block of each block of pixels.
  const Index block = in_place ? GemmBlocks::columns : plan.pixel_block;
  const Index products = block > 0 ? p.batch * ceil_div(p.pixels(), block) : 0;
  plan.pack_whole = products > 1 || by_block;
  switch (operation) {
    case Operation::forward:
      plan.left = left_size<T>(channels, taps, plan.pack_whole);
      plan.right = right_size<T>(plan.pixel_block, taps);
      break;
    case Operation::grad_input:
      plan.left = left_size<T>(taps, channels, plan.pack_whole);
      plan.right = right_size<T>(plan.pixel_block, channels);
      break;
    case Operation::grad_weight:
      plan.left = left_size<T>(channels, plan.pixel_block, true);
      plan.right = right_size<T>(taps, plan.pixel_block);
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
           a.in == a.out;
  };
  return one(p.h) && one(p.w);
}

template <class T>
Plan plan_conv2d(const Conv2d& p, Operation operation, const std::string& request) {
  if (request == "direct") return plan_direct<T>(p, operation, "requested");
  if (request == "im2col") return plan_im2col<T>(p, operation, "requested");
  if (request == "auto") {
    if (p.multiply_adds() < small_problem) {
      return plan_direct<T>(p, operation, "too small to be worth packing");
    }
    return plan_im2col<T>(p, operation, "large enough for a matrix product");
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

}  // namespace convpool
