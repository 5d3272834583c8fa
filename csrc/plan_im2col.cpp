#include "plan_im2col.hpp"

#include <cassert>
#include <utility>

#include "numeric.hpp"
#include "plan_pieces.hpp"
#include "scratch.hpp"

namespace convpool {
namespace {

// Columns of this many bytes are written, multiplied and forgotten: small enough for a second- or
// third-level cache, large enough that the left operand is not read too often.
constexpr Index columns_bytes = Index{1} << 20;

template <class T>
void plan_forward(const Conv2d& p, Plan& plan, bool in_place) {
  const Index m = p.group_out(), taps = p.taps(), images = p.groups * p.batch;
  // Four blocks for each thread even out their lengths; smaller ones than this read the weights
  // too often.
  const Index least_block = 4 * plan.nr;
  const auto blocks = [&] { return ceil_div(p.pixels(), std::max<Index>(plan.pixel_block, 1)); };
  if (plan.threads > 1) {
    if (in_place) plan.pixel_block = std::min(plan.pixel_block, GemmBlocks::columns);
    while (images * blocks() < 4 * plan.threads && plan.pixel_block > 2 * least_block) {
      plan.pixel_block = round_up(ceil_div(plan.pixel_block, 2), plan.nr);
    }
    share_if_few(plan, images * blocks(), m);
  }
  plan.left_in_place = p.batch * ceil_div(p.pixels(), plan.nr) <= few_panels;
  if (!plan.left_in_place) plan.shared = shared_weights<T>(p, plan);
  if (in_place) plan.right = right_size<T>(m, plan.pixel_block, taps);
}

template <class T>
void plan_grad_input(const Conv2d& p, Plan& plan) {
  if (plan.threads > 1) {
    plan.image_pieces = std::min<Index>(p.batch, 2 * plan.threads);
    const Index wanted = ceil_div(2 * plan.threads, p.groups * std::max<Index>(plan.image_pieces, 1));
    plan.channel_pieces = std::clamp<Index>(wanted, 1, std::max<Index>(p.group_in(), 1));
  }
  const Index rows = ceil_div(p.group_in(), plan.channel_pieces) * p.window();
  // Pieces of one row have a kernel of their own, with wider panels.
  const Index fewest_rows = std::max<Index>(p.group_in() / plan.channel_pieces, 1) * p.window();
  plan.left = left_size<T>(rows, p.group_out());
  plan.right = std::max(right_size<T>(rows, plan.pixel_block, p.group_out()),
                        right_size<T>(fewest_rows, plan.pixel_block, p.group_out()));
  plan.columns = rows * plan.columns_ld;
}

template <class T>
void plan_grad_weight(const Conv2d& p, Plan& plan) {
  if (plan.threads > 1) {
    const Index wanted = ceil_div(plan.threads, std::max<Index>(p.groups, 1));
    plan.channel_pieces = std::clamp<Index>(wanted, 1, std::max<Index>(p.group_in(), 1));
  }
  const Index taps = ceil_div(p.group_in(), plan.channel_pieces) * p.window();
  plan.left = left_size<T>(p.group_out(), plan.pixel_block);
  plan.right = right_size<T>(p.group_out(), taps, plan.pixel_block);
  if (plan.columns) plan.columns = taps * plan.columns_ld;
}

}  // namespace

bool columns_are_input(const Conv2d& p) {
  const auto one = [](const Axis& a) {
    return a.kernel == 1 && a.stride == 1 && a.pad_before == 0 && a.pad_after == 0 &&
           a.in == a.out;  // not so for a transposed convolution with output_padding
  };
  return one(p.h) && one(p.w);
}

Conv2d transposed_1x1(const Conv2d& p) {
  assert(columns_are_input(p));
  Conv2d transposed = p;
  std::swap(transposed.in_channels, transposed.out_channels);
  transposed.pad_value = 0;
  return transposed;
}

template <class T>
Plan plan_im2col(const Conv2d& p, Operation operation, const char* reason, int threads) {
  const Index taps = p.taps(), channels = p.group_out();
  const Index rows = operation == Operation::grad_input ? taps : channels, mr = tile_rows<T>(rows);
  const GemmKernel<T>& kernel = gemm_kernel<T>(rows);
  Plan plan{Algorithm::im2col, reason, active_kernels().name, mr, kernel.nr, threads};
  plan.weight_panels.width = mr;
  const bool in_place = columns_are_input(p);

  // The weight gradient also packs its left operand, dy, a block of pixels at a time.
  const bool by_block = operation == Operation::grad_weight;
  const Index height = std::max({Index{1}, in_place ? 0 : taps, by_block ? channels : 0});
  const Index fitting = columns_bytes / (height * Index{sizeof(T)});
  // The blocks of gradients order their sums, so they depend neither on the tile nor the threads.
  const Index unit = operation == Operation::forward ? kernel.nr : 128;
  plan.pixel_block = std::min(std::max(fitting / unit, Index{1}) * unit, p.pixels());
  if (in_place && !by_block) plan.pixel_block = p.pixels();
  plan.columns = in_place ? 0 : taps;  // rows; times columns_ld below

  if (operation == Operation::forward) plan_forward<T>(p, plan, in_place);
  if (!in_place) {
    plan.columns_ld = odd_lines<T>(round_up(plan.pixel_block, kernel.nr));  // whole vectors
    plan.columns = taps * plan.columns_ld;
  }
  if (operation == Operation::grad_input) plan_grad_input<T>(p, plan);
  if (operation == Operation::grad_weight) plan_grad_weight<T>(p, plan);

  if (plan.share_columns) plan.shared += plan.columns;
  Index each = 0;
  for (Index part : {plan.left, plan.share_columns ? 0 : plan.columns, plan.right}) {
    each += Scratch::bytes<T>(part);
  }
  plan.scratch_bytes = Scratch::bytes<T>(plan.shared) + threads * each +
                       (in_place ? 0 : taps * Index{sizeof(std::ptrdiff_t)});
  return plan;
}

#define INSTANTIATE(T) template Plan plan_im2col<T>(const Conv2d&, Operation, const char*, int);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

}  // namespace convpool
