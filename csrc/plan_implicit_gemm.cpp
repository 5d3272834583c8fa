#include "plan_implicit_gemm.hpp"

#include <new>

#include "gradient_phases.hpp"
#include "numeric.hpp"
#include "plan_im2col.hpp"
#include "plan_pieces.hpp"
#include "scratch.hpp"

namespace convpool {
namespace {

// A task of this many multiply-adds takes so long that handing it out does not count.
constexpr double worth_a_task = 5e5;

Index tasks_at_once(const Conv2d& p, Index tasks) {
  const double work = static_cast<double>(p.batch) * p.image_multiply_adds();
  const double each = work / static_cast<double>(std::max<Index>(tasks, 1));
  return 1 + static_cast<Index>(worth_a_task / std::max(each, 1.0));
}

// Planes that are read again for each few output channels stay in a second-level cache beside a
// block of the weights. Gathered cells may come from further away: each is used for a whole tile.
constexpr Index planes_bytes = Index{1} << 17, gathered_planes_bytes = Index{1} << 18;

// Pixels whose sums stay in a second-level cache beside the planes.
constexpr Index gathered_pixels = 1024;

template <class T>
PlaneLayout layout_of(const Conv2d& p, const Plan& plan, Index band) {
  return plan.gathers ? gather_layout(p, band, 64 / sizeof(T)) : plane_layout(p, band, plan.lanes);
}

// A dilation may spread a few taps over more cells than any memory has.
void check_planes(const Conv2d& p, Index lanes) {
  const double channels = static_cast<double>(std::max<Index>(p.group_in(), 1));
  if (padded_cells(p, lanes) * channels > 1e15) throw std::bad_alloc();
}

}  // namespace

// The kernel that gathers computes whole vectors of output channels, and the sums are transposed at
// the end, which takes as long as this many multiply-adds of each. In exchange it needs no vectors
// of pixels, which are unaligned and overhang the rows: 1.1x at 56 pixels a row, 1.4x at 10.
template <class T>
bool pays_to_gather(const Conv2d& p) {
  constexpr double transposing = 12, most = 1.25;
  constexpr Index filling = 8;  // sums that keep the pipeline full
  const GatherKernel<T>& kernel = kernels_of<T>().gather;
  const Index m = p.group_out(), taps = p.taps(), rest = m % kernel.nr;
  if (m < 2 || taps == 0) return false;
  const Index vectors = ceil_div(rest, kernel.lanes), sums = kernel.mr * vectors;
  const double stalls = rest ? std::max(1.0, filling / static_cast<double>(sums)) : 1;
  const double computed =
      static_cast<double>(m - rest) + stalls * static_cast<double>(vectors * kernel.lanes);
  const double waste = computed / static_cast<double>(m);
  return waste * (1 + transposing / static_cast<double>(taps)) < most;
}

template <class T>
Plan plan_implicit_gemm(const Conv2d& p, const char* reason, int threads) {
  const Index m = p.group_out(), taps = p.taps(), images = p.groups * p.batch;
  const GemmKernel<T>& kernel = gemm_kernel<T>(m);
  Plan plan{Algorithm::implicit_gemm, reason, active_kernels().name, kernel.mr, kernel.nr, threads};
  plan.lanes = kernel.lanes;
  plan.weight_panels = {kernel.mr, false};
  plan.filters = m == 1 && taps > 0 && p.w.kernel <= 2 * GemmBlocks::depth;
  plan.gathers = pays_to_gather<T>(p);
  if (plan.gathers) {
    plan.mr = kernels_of<T>().gather.mr;
    plan.nr = kernels_of<T>().gather.nr;
    plan.weight_panels = {plan.nr, true};
  }
  check_planes(p, kernel.lanes);
  const auto planes = [&](Index band) { return p.group_in() * layout_of<T>(p, plan, band).plane; };
  const auto bands = [&] { return ceil_div(p.h.out, plan.band); };

  // Rows that a band adds to what every band needs for its height of windows.
  const Index added = p.h.out > 1 ? planes(2) - planes(1) : 0;
  const Index row = std::max<Index>(added, 1) * Index{sizeof(T)};
  const Index fixed = planes(1) * Index{sizeof(T)};
  const Index fitting = plan.gathers ? gathered_planes_bytes : planes_bytes;
  // Shorter bands than kernels would mostly copy each other's input.
  const Index shortest = std::min<Index>(p.h.kernel, 64), height = std::max<Index>(p.h.out, 1);
  plan.band = std::clamp(std::max(1 + (fitting - fixed) / row, shortest), Index{1}, height);
  if (threads > 1) {
    // Shorter bands would copy too much of each other's input, or meet the weights too often.
    const Index few = plan.gathers ? ceil_div(16 * plan.mr, std::max<Index>(p.w.out, 1)) : 1;
    const Index least = std::min(std::max(p.h.kernel, few), plan.band);
    while (images * bands() < 4 * threads && plan.band >= 2 * least) {
      plan.band = ceil_div(plan.band, 2);
    }
    share_if_few(plan, images * bands(), m);
  }
  plan.band = ceil_div(height, ceil_div(height, plan.band));
  if (bands() == 1 && plan.gathers) {
    // The weights are read once for several small images, if every thread has some.
    const Index image = std::max<Index>(planes(plan.band) * Index{sizeof(T)}, 1);
    const Index most = threads == 1 ? p.batch : ceil_div(p.batch, ceil_div(4 * threads, p.groups));
    plan.images_at_once = std::min({2 * gathered_planes_bytes / image,
                                    gathered_pixels / std::max<Index>(p.pixels(), 1), most});
    plan.images_at_once = std::max<Index>(plan.images_at_once, 1);
  }
  plan.columns = plan.images_at_once * planes(plan.band);
  const Index units = p.groups * bands() * ceil_div(p.batch, plan.images_at_once);
  // Tasks that take less than some microseconds are done several at a time.
  if (!plan.share_columns) plan.units_at_once = tasks_at_once(p, units);

  Index offsets = taps;
  if (plan.gathers) {
    const Index pixels = plan.images_at_once * plan.band * p.w.out;
    const Index blocks = ceil_div(std::max<Index>(pixels, 1), gathered_pixels);
    plan.pixels_at_once = ceil_div(pixels, blocks);
    // Weights that are used once are packed block by block, and are in the cache then.
    plan.left_in_place = units == p.groups && blocks == 1;
    const Index depth = plan.left_in_place ? std::min(taps, GemmBlocks::depth) : 0;
    plan.right = (plan.pixels_at_once + depth) * plan.nr;
    offsets += pixels;
  } else {
    plan.left_in_place =
        plan.filters || p.batch * p.h.out * ceil_div(p.w.out, kernel.nr) <= few_panels;
  }
  plan.shared = (plan.left_in_place ? 0 : shared_weights<T>(p, plan)) +
                (plan.share_columns ? plan.columns : 0);
  const Index own = plan.share_columns ? 0 : plan.columns;
  plan.scratch_bytes = Scratch::bytes<T>(plan.shared) + offsets * Index{sizeof(std::ptrdiff_t)} +
                       threads * (Scratch::bytes<T>(own) + Scratch::bytes<T>(plan.right));
  return plan;
}

bool few_cells(const Conv2d& p) {
  if (p.pixels() == 0 || p.taps() == 0) return false;
  return padded_cells(p, 0) <= static_cast<double>(p.window()) * p.pixels();
}

bool has_phases(const Conv2d& p) {
  constexpr Index most = 64;
  return p.h.pad_mode == PadMode::constant && p.h.stride <= most && p.w.stride <= most &&
         p.h.stride * p.w.stride <= most;
}

template <class T>
Plan plan_input_gradient(const Conv2d& p, const char* reason, int threads) {
  // Weights that are not finite go by way of columns.
  const Plan other = plan_im2col<T>(p, Operation::grad_input, reason, threads);
  Plan plan{Algorithm::implicit_gemm, reason, other.instruction_set, other.mr, other.nr, threads};
  std::vector<GradientPhase> phases = gradient_phases(p);
  plan.images_at_once = std::max<Index>(p.batch, 1);
  Index results = 0, weights = 0;
  if (phases.size() > 1) {
    // The results of some images at a time stay in the caches until they are interleaved.
    constexpr Index results_bytes = Index{1} << 21;
    const Index image = p.in_channels * phases[0].h.axis.out * p.w.in;
    const Index fitting = threads * results_bytes / std::max<Index>(image * Index{sizeof(T)}, 1);
    plan.images_at_once = std::clamp<Index>(fitting, 1, plan.images_at_once);
    results = plan.images_at_once * image;
  }
  for (GradientPhase& phase : phases) {
    if (phase.is_empty()) continue;
    phase.conv.batch = plan.images_at_once;
    const Plan part = plan_implicit_gemm<T>(phase.conv, reason, threads);
    plan.scratch_bytes = std::max(plan.scratch_bytes, part.scratch_bytes);
    if (!part.gathers) weights += p.in_channels * phase.conv.taps();
  }
  plan.scratch_bytes += (weights + results) * Index{sizeof(T)};
  plan.scratch_bytes = std::max(plan.scratch_bytes, other.scratch_bytes);
  return plan;
}

bool suits_input_gradient(const Conv2d& p) {
  if (!has_phases(p) || columns_are_input(p) || p.taps() == 0) return false;
  const Index m = p.group_in();
  // With few rows in the product, columns are 1.5 times as fast for the phases of a first layer.
  if (m > 1 && m < 4 && p.h.stride * p.w.stride > 1) return false;
  for (const GradientPhase& phase : gradient_phases(p)) {
    if (!phase.is_empty() && !few_cells(phase.conv)) return false;
  }
  return true;
}

// Units of about this many pixels, blocks of which order the sums: they depend on nothing but the
// shape.
template <class T>
Plan plan_weight_gradient(const Conv2d& p, const char* reason, int threads) {
  constexpr Index unit_pixels = 1024, filtered_cells = 1 << 15, most_cells = 1 << 20;
  // Parts of small gradients are summed apart, to be shared among up to this many threads.
  constexpr Index most_parts = 32, most_sums = 1 << 14;
  const Index m = p.group_out(), taps = p.taps(), channels_in = std::max<Index>(p.group_in(), 1);
  const GatherKernel<T>& kernel = kernels_of<T>().gather;
  Plan plan{Algorithm::implicit_gemm, reason, active_kernels().name, kernel.mr, kernel.nr, threads};
  plan.lanes = kernel.lanes;
  plan.filters = m == 1;
  plan.gathers = !plan.filters;
  check_planes(p, kernel.lanes);

  const Index pixels = plan.filters ? filtered_cells / channels_in : unit_pixels;
  const Index height = std::max<Index>(p.h.out, 1), width = std::max<Index>(p.w.out, 1);
  const auto cells = [&] { return channels_in * layout_of<T>(p, plan, plan.band).plane; };
  plan.band = std::clamp<Index>(ceil_div(pixels, width), 1, height);
  while (plan.band > 1 && cells() > most_cells) plan.band = ceil_div(plan.band, 2);
  if (plan.band == height && !plan.filters) {
    const Index fitting = std::min(pixels / (height * width), most_cells / std::max<Index>(cells(), 1));
    plan.images_at_once = std::clamp<Index>(fitting, 1, std::max<Index>(p.batch, 1));
  }
  const Index units = ceil_div(p.batch, plan.images_at_once) * ceil_div(height, plan.band);
  plan.unit_pieces = std::min({most_parts / std::max<Index>(p.groups, 1),
                               most_sums / std::max<Index>(taps * m, 1), units});
  plan.unit_pieces = std::max<Index>(plan.unit_pieces, 1);
  if (threads > 1) {
    const Index wanted = ceil_div(2 * threads, p.groups * plan.unit_pieces);
    plan.channel_pieces = std::clamp<Index>(wanted, 1, std::max<Index>(p.group_in(), 1));
  }
  plan.units_at_once = tasks_at_once(p, p.groups * plan.unit_pieces * plan.channel_pieces);
  const Index channels = ceil_div(p.group_in(), plan.channel_pieces);
  plan.columns = plan.images_at_once * channels * layout_of<T>(p, plan, plan.band).plane;
  plan.right = plan.filters ? 0 : GemmBlocks::depth * kernel.nr;
  plan.shared = p.groups * plan.unit_pieces * taps * round_up(m, kernel.lanes);
  const Index offsets = channels * p.window() + plan.images_at_once * plan.band * width;
  plan.scratch_bytes = Scratch::bytes<T>(plan.shared) + offsets * Index{sizeof(std::ptrdiff_t)} +
                       threads * (Scratch::bytes<T>(plan.columns) + Scratch::bytes<T>(plan.right));
  return plan;
}

template <class T>
PlaneLayout layout_of(const Conv2d& p, const Plan& plan) {
  return layout_of<T>(p, plan, plan.band);
}

#define INSTANTIATE(T)                                              \
  template Plan plan_implicit_gemm<T>(const Conv2d&, const char*, int);    \
  template Plan plan_input_gradient<T>(const Conv2d&, const char*, int);    \
  template Plan plan_weight_gradient<T>(const Conv2d&, const char*, int);    \
  template PlaneLayout layout_of<T>(const Conv2d&, const Plan&);    \
  template bool pays_to_gather<T>(const Conv2d&);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

}  // namespace convpool
