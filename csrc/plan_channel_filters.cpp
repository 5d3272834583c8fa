#include "plan_channel_filters.hpp"

#include <algorithm>
#include <type_traits>

#include "dispatch.hpp"
#include "plan_pieces.hpp"
#include "scratch.hpp"

namespace convpool {
namespace {

// One output channel for each input channel, and a vector of them; sums are in one block.
template <class T>
bool fills_vectors(const Conv2d& p) {
  return !std::is_integral_v<T> && p.group_in() == 1 && p.group_out() == 1 && p.pixels() > 0 &&
         p.in_plane() > 0 && p.in_channels >= kernels_of<T>().gather.lanes &&
         GemmBlocks::count(p.taps()) == 1;
}

}  // namespace

template <class T>
bool suits_channel_filters(const Conv2d& p) {
  return p.channels_last && fills_vectors<T>(p);
}

template <class T>
bool suit_channel_filters(const std::vector<GradientPhase>& phases) {
  return std::all_of(phases.begin(), phases.end(), [](const GradientPhase& phase) {
    return !phase.is_empty() && suits_channel_filters<T>(phase.conv);
  });
}

template <class T>
Plan plan_channel_filters(const Conv2d& p, const char* reason, int threads) {
  Plan plan{Algorithm::implicit_gemm, reason, active_kernels().name, 1,
            kernels_of<T>().gather.lanes, threads};
  plan.filters = plan.reads_channels_last = plan.writes_channels_last = true;
  // These multiply-adds take as long as two of others, and for each result memory as long as so many more.
  constexpr double slower = 2, meeting = 8;
  const double results = static_cast<double>(p.batch * p.pixels()) * static_cast<double>(p.in_channels);
  const double work = slower * results * (static_cast<double>(p.window()) + meeting);
  plan.units_at_once = tasks_at_once(work, p.batch * p.h.out, threads);
  plan.left = p.window() * p.in_channels;
  plan.columns = p.w.in * p.in_channels;
  plan.scratch_bytes = Scratch::bytes<T>(plan.left) + Scratch::bytes<T>(plan.columns);
  return plan;
}

template <class T>
Plan plan_channel_dots(const Conv2d& p, const char* reason, int threads) {
  constexpr Index most_parts = 32, least_rows = 4;
  Plan plan = plan_channel_filters<T>(p, reason, threads);
  plan.writes_channels_last = false;
  plan.unit_pieces = std::clamp<Index>(p.batch * p.h.out / least_rows, 1, most_parts);
  plan.scratch_bytes = Scratch::bytes<T>(plan.unit_pieces * plan.left) + Scratch::bytes<T>(plan.columns);
  if (p.channels_last) return plan;
  plan.reads_channels_last = false;
  plan.moves_channels_last = true;
  plan.scratch_bytes += Scratch::bytes<T>(p.batch * p.in_channels * p.in_plane()) +
                        Scratch::bytes<T>(p.batch * p.in_channels * p.pixels());
  return plan;
}

// Large windows meet the ends of rows often, pixel by pixel: 0.8x for 5x5 kernels, but 2x for 7x7 with
// stride 2, which others cannot read as rows. Where channels are first, rows of few pixels fill vectors badly:
// 3x for 3x3 kernels with results of 7x7, 0.9x with 14x14.
template <class T>
bool pays_as_channel_dots(const Conv2d& p) {
  constexpr Index most_taps = 9, most_strided_taps = 49;
  constexpr Index most_pixels = 64, most_cells = 256, most_moved = 1 << 20;
  if (!fills_vectors<T>(p)) return false;
  if (p.channels_last) return p.window() <= (p.w.stride > 1 ? most_strided_taps : most_taps);
  const Index moved = p.batch * p.in_channels * (p.in_plane() + p.pixels());
  return p.window() <= most_taps && p.pixels() <= most_pixels && p.in_plane() <= most_cells &&
         moved <= most_moved;
}

#define INSTANTIATE(T)                                                    \
  template bool suits_channel_filters<T>(const Conv2d&);                  \
  template bool suit_channel_filters<T>(const std::vector<GradientPhase>&); \
  template Plan plan_channel_filters<T>(const Conv2d&, const char*, int); \
  template Plan plan_channel_dots<T>(const Conv2d&, const char*, int);    \
  template bool pays_as_channel_dots<T>(const Conv2d&);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

}  // namespace convpool
