#include "winograd.hpp"

#include <atomic>
#include <deque>
#include <memory>

#include "gemm.hpp"
#include "plan_winograd.hpp"
#include "planes.hpp"
#include "scratch.hpp"
#include "threads.hpp"

namespace convpool {
namespace {

// Some columns of tiles, and how their cells are read: all rows of them in a task at once.
template <class T>
struct TileColumns {
  TileColumns(const Conv2d& p, const Plan& plan, Index i)
      : columns(tile_columns(p, plan, i)),
        tiles(tiles_of(p, columns)),
        layout(plane_layout(tiles, std::min(plan.units_at_once, tiles.h.out), kernels_of<T>().gather.lanes)),
        write_plane(tiles, layout) {
    for (Index s = 0; s < WinogradTile::cells; ++s) offsets[s] = layout.tap_offset(tiles, 0, s);
  }
  TileColumns(const TileColumns&) = delete;  // the writer knows where the tiles are

  Range columns;
  Conv2d tiles;
  PlaneLayout layout;
  PlaneWriter<T> write_plane;
  std::ptrdiff_t offsets[WinogradTile::cells];
};

// Rows of tiles of one image, and where they begin among the tiles of a task.
struct TileRows {
  Index image;
  Range rows;
  Index first;
};

// The rows of tiles of all images in a range, one image after the other.
std::vector<TileRows> rows_by_image(const Conv2d& tiles, Range range) {
  std::vector<TileRows> parts;
  for (Index row = range.begin, end; row < range.end; row = end) {
    const Index image = row / tiles.h.out, above = image * tiles.h.out;
    end = std::min(range.end, above + tiles.h.out);
    parts.push_back({image, {row - above, end - above}, (row - range.begin) * tiles.w.out});
  }
  return parts;
}

}  // namespace

template <class T>
std::vector<Index> winograd_forward(const Conv2d& p, const Plan& plan, const View<T>& x,
                                    const WeightView<T>& w, const T* bias, T* y) {
  constexpr Index places = WinogradTile::places, side = WinogradTile::results;
  const KernelsFor<T>& kernels = kernels_of<T>();
  const Index k = p.group_in(), m = p.group_out(), width = plan.weight_panels.width;
  const Index pitch = tiles_pitch<T>(plan);
  const Index cells_place = plan.columns / places, products_place = plan.right / places;

  Scratch shared(Scratch::bytes<T>(plan.shared));
  const Weights<T> weights(p, plan, w, shared.take<T>(plan.shared));
  std::vector<std::ptrdiff_t> channels;
  for (Index c = 0; c < k; ++c) channels.push_back(c * pitch);
  std::deque<TileColumns<T>> pieces;
  for (Index end = 0; end * side < p.w.out; end = pieces.back().columns.end) {
    pieces.emplace_back(p, plan, static_cast<Index>(pieces.size()));
  }
  const auto is_finite = std::make_unique<std::atomic<bool>[]>(static_cast<std::size_t>(p.batch));
  for (Index n = 0; n < p.batch; ++n) is_finite[static_cast<std::size_t>(n)] = true;

  const Index rows = p.batch * pieces[0].tiles.h.out, bands = ceil_div(rows, plan.units_at_once);
  const Index tasks = bands * static_cast<Index>(pieces.size());
  parallel_for(plan.threads, p.groups * tasks, [&](Index task) {
    Scratch own(Scratch::bytes<T>(plan.left) + Scratch::bytes<T>(plan.columns) + Scratch::bytes<T>(plan.right));
    T *const plane = own.take<T>(plan.left), *const cells = own.take<T>(plan.columns);
    T* const products = own.take<T>(plan.right);
    const Index g = quotient(task, tasks), i = task - g * tasks;
    const TileColumns<T>& part_of_row = pieces[static_cast<std::size_t>(i / bands)];
    const Range these = piece(i % bands, bands, rows, 1);
    const Index columns = part_of_row.columns.size();
    const std::vector<TileRows> parts = rows_by_image(part_of_row.tiles, these);

    for (const TileRows& part : parts) {
      const View<T> image = x.from(part.image, g * k);
      for (Index c = 0; c < k; ++c) {
        part_of_row.write_plane(image, {c, c + 1}, part.rows, c > 0, plane);
        kernels.spread_tiles({plane, part_of_row.layout.row, part_of_row.offsets,
                              cells + c * pitch + part.first, cells_place, part.rows.size(), columns});
      }
    }
    for (Index oc = 0; oc < m; oc += width) {
      const Index count = std::min(width, m - oc), channel = g * m + oc;
      for (Index place = 0; place < places; ++place) {
        const auto right = RightOperand<T>::of_rows(cells + place * cells_place, channels.data());
        gemm<T>({0, count}, count, these.size() * columns, k, weights.transformed(g, oc, place), right, nullptr,
                products + place * products_place, pitch, false);
      }
      for (const TileRows& part : parts) {
        const Index oh = part.rows.begin * side, ow = part_of_row.columns.begin * side;
        const bool finite = kernels.join_tiles(
            {products + part.first, products_place, pitch, count, part.rows.size(), columns,
             bias ? bias + channel : nullptr,
             y + (part.image * p.out_channels + channel) * p.pixels() + oh * p.w.out + ow, p.pixels(), p.w.out,
             p.h.out - oh, std::min(columns * side, p.w.out - ow)});
        if (!finite) is_finite[static_cast<std::size_t>(part.image)] = false;
      }
    }
  });

  std::vector<Index> spoilt;
  for (Index n = 0; n < p.batch; ++n) {
    if (!is_finite[static_cast<std::size_t>(n)]) spoilt.push_back(n);
  }
  return spoilt;
}

#define INSTANTIATE(T)                                                                              \
  template std::vector<Index> winograd_forward(const Conv2d&, const Plan&, const View<T>&,          \
                                               const WeightView<T>&, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace convpool
