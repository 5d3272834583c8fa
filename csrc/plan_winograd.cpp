#include "plan_winograd.hpp"

#include <new>

#include "dispatch.hpp"
#include "plan_pieces.hpp"
#include "scratch.hpp"

namespace convpool {
namespace {

// Transformed cells, which meet one panel of weights after the other, and the products of a panel, which are
// read once: together about a second-level cache. Half or twice as many of either: 1.0 to 1.1 times the
// time. Each panel is read again for every so many tiles.
constexpr Index cells_bytes = Index{1} << 19, products_bytes = Index{1} << 18;
constexpr Index fewest_tiles = 64, most_tiles = 128;
constexpr Index most_bytes = Index{6} << 20;  // of cells, if there are very many channels

template <class T>
Index tiles_at_once(Index channels) {
  const Index tile = std::max<Index>(channels, 1) * WinogradTile::places * Index{sizeof(T)};
  const Index fitting = std::clamp(cells_bytes / tile, fewest_tiles, most_tiles);
  return std::clamp<Index>(most_bytes / tile, 1, fitting);
}

// Panels are the same for all images, so that packed weights are packed once.
template <class T>
WeightPanels winograd_panels(Index m) {
  const Index channel = fewest_tiles * WinogradTile::places * Index{sizeof(T)}, mr = tile_rows<T>(m);
  return {std::min(products_bytes / channel / mr * mr, round_up(m, mr)), PanelOrder::winograd, 0};
}

}  // namespace

bool has_winograd(const Conv2d& p) {
  const auto has = [](const Axis& a) {
    return a.kernel == WinogradTile::kernel && a.stride == 1 && a.dilation == 1;
  };
  return has(p.h) && has(p.w);
}

// Cells, results and weights are transformed, which the fewer multiplications of many channels pay for: 1.1
// to 3 times as fast. The batch does not count, so that an image's bits do not depend on its company; 16
// images of 14x14 would gain too, a single one loses. From 16 channels on only images with channels before
// rows gain.
bool pays_as_winograd(const Conv2d& p) {
  constexpr Index channels = 32, pixels = 24 * 24;
  return std::min(p.group_in(), p.group_out()) >= channels && p.pixels() >= pixels;
}

// Parts of tiles at the ends meet cells that no result sums, which cancel but for their rounding: they should
// be zeros, not cells that are cropped nor numbers that pad nothing.
Conv2d tiles_of(const Conv2d& p, Range columns) {
  Conv2d tiles = p;
  const bool is_padded = std::max({p.h.pad_before, p.h.pad_after, p.w.pad_before, p.w.pad_after}) > 0;
  if (!is_padded) tiles.pad_value = 0;
  for (Axis* axis : {&tiles.h, &tiles.w}) {
    if (axis->pad_mode == PadMode::constant) axis->in += std::min<Index>(0, axis->pad_after);
    axis->kernel = WinogradTile::cells;
    axis->stride = WinogradTile::results;
    axis->out = ceil_div(axis->out, WinogradTile::results);
  }
  tiles.w.pad_before -= columns.begin * WinogradTile::results;
  tiles.w.out = columns.size();
  return tiles;
}

Range tile_columns(const Conv2d& p, const Plan& plan, Index i) {
  const Index columns = ceil_div(p.w.out, WinogradTile::results);
  return piece(i, ceil_div(columns, plan.tile_columns), columns, 1);
}

template <class T>
Index tiles_pitch(const Plan& plan) {
  const Index lanes = kernels_of<T>().gather.lanes, columns = plan.tile_columns;
  return round_up((plan.units_at_once - 1) * columns + round_up(columns, lanes), lanes);
}

template <class T>
Plan plan_winograd(const Conv2d& p, const char* reason, int threads) {
  const Index k = p.group_in(), m = p.group_out(), lanes = kernels_of<T>().gather.lanes;
  const Index columns = ceil_div(p.w.out, WinogradTile::results);
  const Index rows = ceil_div(p.h.out, WinogradTile::results), all_rows = p.batch * rows;
  Plan plan{Algorithm::winograd, reason, active_kernels().name, tile_rows<T>(m), gemm_kernel<T>(m).nr, threads};
  plan.weight_panels = winograd_panels<T>(m);
  // So many weights would take more bytes than can be counted, transformed.
  constexpr double most_weights = 1e16;
  if (static_cast<double>(p.out_channels) * static_cast<double>(k) > most_weights) throw std::bad_alloc();

  const Index at_once = tiles_at_once<T>(k), column_pieces = ceil_div(columns, at_once);
  plan.tile_columns = ceil_div(columns, column_pieces);
  // Each thread has a task; more would read the weights more often.
  const Index tasks = ceil_div(threads, p.groups * column_pieces);
  plan.units_at_once = std::clamp<Index>(at_once / plan.tile_columns, 1, ceil_div(all_rows, tasks));
  const Index pitch = tiles_pitch<T>(plan);
  plan.shared = packed_size<T>(p, plan.weight_panels);
  const Conv2d widest = tiles_of(p, {0, plan.tile_columns});
  plan.left = plane_layout(widest, std::min(plan.units_at_once, rows), lanes).plane;
  plan.columns = WinogradTile::places * odd_lines<T>(k * pitch);
  plan.right = WinogradTile::places * odd_lines<T>(plan.weight_panels.width * pitch);
  Index each = 0;
  for (const Index part : {plan.left, plan.columns, plan.right}) each += Scratch::bytes<T>(part);
  plan.scratch_bytes = Scratch::bytes<T>(plan.shared) + threads * each + k * Index{sizeof(std::ptrdiff_t)};
  return plan;
}

#define INSTANTIATE(T)                                              \
  template Plan plan_winograd<T>(const Conv2d&, const char*, int);  \
  template Index tiles_pitch<T>(const Plan&);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace convpool
