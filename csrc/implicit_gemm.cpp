#include "implicit_gemm.hpp"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <vector>

#include "channel_filters.hpp"
#include "filters.hpp"
#include "gemm.hpp"
#include "image_tiles.hpp"
#include "numeric.hpp"
#include "pixel_products.hpp"
#include "plan_implicit_gemm.hpp"
#include "scratch.hpp"
#include "threads.hpp"
#include "weights.hpp"

namespace convpool {
namespace {

std::vector<std::ptrdiff_t> channel_offsets(Index channels) {
  std::vector<std::ptrdiff_t> offsets(static_cast<std::size_t>(channels));
  std::iota(offsets.begin(), offsets.end(), 0);
  return offsets;
}

// Windows that stay inside of the image need no planes where single cells are read: 1.1x for 5x5 kernels on
// 14x14. Channels that are whole pages apart would all be in the same set of the first-level cache.
template <class T>
bool gathers_in_place(const Conv2d& p, const Plan& plan, const View<T>& x) {
  constexpr Index page = 4096 / sizeof(T);
  const bool is_near = x.w == 1 || (plan.reads_channels_last && x.c == 1);
  return plan.gathers && !plan.cell_pitch && is_near && x.c % page != 0 && stays_inside(p.h) &&
         stays_inside(p.w);
}

}  // namespace

// The input rows of a band of output rows are copied once, with their padding (planes.hpp draws the
// layout). Then the right operand of  y = w * cols  needs no copy: its row for a tap begins a fixed
// offset behind the first cell of the output row, and is contiguous (Dukhan, "The indirect
// convolution algorithm", 2019, has pointers for offsets). Sums run in the order of im2col, so both
// give the same bits.
template <class T>
void implicit_gemm_forward(const Conv2d& p, const Plan& plan, const View<T>& x,
                           const WeightView<T>& w, const T* bias, T* y) {
  if (p.pixels() == 0 || p.batch == 0 || p.out_channels == 0) return;
  if (plan.filters && plan.writes_channels_last) {
    const Index row = p.w.out * p.out_channels;
    return filter_channels_last(p, plan, x, w, bias, y, {p.h.out * row, row, p.out_channels});
  }
  const Index m = p.group_out(), bands = ceil_div(p.h.out, plan.band);
  const bool in_place = gathers_in_place(p, plan, x);
  const PlaneLayout layout = in_place ? image_layout(p, x) : layout_of<T>(p, plan);
  const Index image_planes = plan.cell_pitch ? p.in_plane() * plan.cell_pitch
                             : in_place      ? x.n
                                             : layout.size(p.group_in());

  const auto offsets = plan.cell_pitch      ? channel_offsets(plan.weight_panels.channels)
                       : plan.by_kernel_row ? tap_offsets_by_row(p, layout)
                                            : tap_offsets(p, layout, p.group_in());
  Scratch scratch(Scratch::bytes<T>(plan.shared));
  T* const shared = scratch.take<T>(plan.shared);
  T* const shared_planes = shared + plan.shared - (plan.share_columns ? plan.columns : 0);
  const Weights<T> weights(p, plan, w, shared);
  const PlaneWriter<T> write_planes(p, layout);
  const Filter<T> filter(p, plan, layout);
  const bool filters_images = filter.reads(x);
  const PixelProducts<T> pixel_products(p, plan, layout, image_planes, offsets);
  const ImageProducts<T> image_products(p, plan);
  const bool reads_images = image_products.reads(x);

  // A unit is a band of images_at_once images of a group.
  struct Unit {
    Index g;
    Range images, rows;
  };
  const Index lots = ceil_div(p.batch, plan.images_at_once), units = p.groups * lots * bands;
  const auto unit_at = [&](Index i) {
    const Index lot = quotient(i, bands), g = quotient(lot, lots);
    const Index image = (lot - g * lots) * plan.images_at_once, row = (i - lot * bands) * plan.band;
    return Unit{g,
                {image, std::min(image + plan.images_at_once, p.batch)},
                {row, std::min(row + plan.band, p.h.out)}};
  };

  // Output channels `channels` of a unit whose planes are there, or a row of padding.
  const auto multiply = [&](const Unit& unit, Range channels, const T* planes, T* packed) {
    const auto& [g, images, rows] = unit;
    const Index plane = images.begin * p.out_channels + g * m, pixel = rows.begin * p.w.out;
    const Index band = rows.size() * p.w.out;
    if (plan.gathers) {
      const T* const cells =
          in_place ? x.at(images.begin, g * p.group_in(), p.h.cell(rows.begin, 0)) + p.w.cell(0, 0) * x.w
                   : planes;
      T* const results = plan.writes_channels_last
                             ? y + (images.begin * p.pixels() + pixel) * p.out_channels + g * m
                             : y + plane * p.pixels() + pixel;
      pixel_products(images.size(), band, g, channels, cells, weights, bias, packed, results);
      return;
    }
    T* const first = y + plane * p.pixels() + pixel;
    assert(images.size() == 1);
    const T* const starts = bias ? bias + g * m : nullptr;
    const LeftOperand<T> left = weights.matrix(g);
    if (reads_images) {
      image_products(channels, rows, x.from(images.begin, g * p.group_in()), left, planes, starts, first);
      return;
    }
    for (Index oc = channels.begin; plan.filters && oc < channels.end; ++oc) {
      filter(left.matrix.at(oc, 0), planes, rows.size(), starts ? starts + oc : nullptr,
             first + oc * p.pixels());
    }
    for (Index oh = 0; !plan.filters && oh < rows.size(); ++oh) {
      const T* const cells = planes + layout.pixel_offset(p, oh, 0);
      const Index row = p.group_in() * p.w.kernel;
      const Range kh =
          plan.by_kernel_row ? taps_inside(p.h, rows.begin + oh) : Range{0, p.h.kernel};
      LeftOperand<T> part = left;
      if (left.in_place) part.matrix.data = left.matrix.at(0, kh.begin * row);
      const auto right = RightOperand<T>::of_rows(cells, offsets.data() + kh.begin * row);
      gemm(channels, m, p.w.out, kh.size() * row, part, right, starts, first + oh * p.w.out,
           p.pixels(), false);
    }
  };

  // Units that follow each other, `most` or less, whose images are filtered where they stand: of a
  // group or, if there is one image, of several. Returns how many.
  const auto filter_images = [&](const Unit& unit, Index most, T* memory) {
    const auto& [g, images, rows] = unit;
    const bool same_image = lots == 1;
    Index count = 1;
    if (bands == 1 && p.group_in() == 1) count = std::min(most, same_image ? most : lots - images.begin);
    T* const first = y + (images.begin * p.out_channels + g) * p.pixels() + rows.begin * p.w.out;
    const Index step = p.pixels() * (same_image ? 1 : p.out_channels);
    filter.filter_images(weights.matrix(g).matrix.data, same_image ? w.g : 0,
                         x.from(images.begin, g * p.group_in()), same_image ? x.c : x.n, memory,
                         count, rows, bias ? bias + g : nullptr, same_image, first, step);
    return count;
  };

  const auto write = [&](const Unit& unit, Range channels, Index padded_images, T* planes) {
    if (in_place) return;
    if (reads_images) {
      if (channels.begin == 0) std::fill_n(planes, p.w.in, T(0));
      return;
    }
    if (plan.cell_pitch) {
      std::fill_n(planes + plan.columns - plan.cell_pitch + channels.begin, channels.size(), T(0));
    }
    for (Index i = 0; i < unit.images.size(); ++i) {
      const View<T> image = x.from(unit.images.begin + i, unit.g * p.group_in());
      T* const to = planes + i * image_planes;
      if (plan.cell_pitch) {
        write_cells(p, image, channels, plan.cell_pitch, to);
      } else {
        write_planes(image, channels, unit.rows, i < padded_images,
                     to + channels.begin * layout.plane);
      }
    }
  };

  if (!plan.share_columns) {
    const Index tasks = ceil_div(units, plan.units_at_once);
    parallel_for(plan.threads, tasks, [&](Index task) {
      Scratch own(Scratch::bytes<T>(plan.columns) + Scratch::bytes<T>(plan.right));
      T* const planes = own.take<T>(plan.columns);
      T* const packed = own.take<T>(plan.right);
      const Range these = piece(task, tasks, units, 1);
      Index padded_images = 0;
      for (Index i = these.begin; i < these.end; ++i) {
        const Unit unit = unit_at(i);
        if (filters_images) {
          i += filter_images(unit, these.end - i, planes) - 1;
          continue;
        }
        write(unit, {0, p.group_in()}, padded_images, planes);
        if (bands == 1) padded_images = std::max(padded_images, unit.images.size());
        multiply(unit, {0, m}, planes, packed);
      }
    });
    return;
  }
  for (Index i = 0; i < units; ++i) {
    const Unit unit = unit_at(i);
    // Whole vectors of channels, where cells hold them together.
    const Index pieces = std::min<Index>(p.group_in(), 4 * plan.threads);
    const Index whole = plan.cell_pitch ? plan.lanes : 1;
    parallel_for(plan.threads, pieces, [&](Index j) {
      write(unit, piece(j, pieces, p.group_in(), whole), 0, shared_planes);
    });
    parallel_for(plan.threads, plan.channel_pieces, [&](Index j) {
      Scratch own(Scratch::bytes<T>(plan.right));
      const Range channels = piece(j, plan.channel_pieces, m, plan.weight_panels.width);
      multiply(unit, channels, shared_planes, own.take<T>(plan.right));
    });
  }
}

#define INSTANTIATE(T)                                                                      \
  template void implicit_gemm_forward(const Conv2d&, const Plan&, const View<T>&, \
                                      const WeightView<T>&, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

}  // namespace convpool
