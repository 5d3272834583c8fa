#include "pixel_products.hpp"

#include <algorithm>

#include "copies.hpp"
#include "dispatch.hpp"

namespace convpool {

template <class T>
PixelProducts<T>::PixelProducts(const Conv2d& p, const Plan& plan, const PlaneLayout& layout,
                                Index image_planes, const std::vector<std::ptrdiff_t>& taps)
    : p_(p), plan_(plan), taps_(taps) {
  if (!plan.gathers) return;
  if (plan.cell_pitch) {
    tap_pixels_ = tap_pixels(p, plan.cell_pitch, plan.images_at_once, plan.nr);
    return;
  }
  pixels_ = pixel_offsets(p, layout, plan.images_at_once, image_planes, plan.band);
  in_results_ = plan.writes_channels_last && GemmBlocks::count(p.taps()) == 1;
  for (Index q = 0; q < plan.pixels_at_once; ++q) {
    rows_.push_back(q * plan.nr);
    if (in_results_) result_rows_.push_back(q * p.out_channels);
  }
}

template <class T>
void PixelProducts<T>::operator()(Index images, Index band, Index g, Range channels,
                                  const T* planes, const Weights<T>& weights, const T* bias,
                                  T* scratch, T* y) const {
  const Index pixels = images * band, blocks = ceil_div(pixels, plan_.pixels_at_once);
  const Index nr = plan_.nr;
  T* const packed = scratch + plan_.pixels_at_once * nr;
  for (Index block = 0; block < blocks; ++block) {
    const Range these = piece(block, blocks, pixels, 1);
    for (Index oc = channels.begin; oc < channels.end; oc += nr) {
      const Index count = std::min(nr, channels.end - oc);
      const T* const starts = bias ? bias + g * p_.group_out() + oc : nullptr;
      // With channels last, images follow each other pixel by pixel: several are whole.
      T* const pixels_of_y = y + these.begin * p_.out_channels + oc;
      const bool in_results = in_results_ && count % kernels_of<T>().gather.lanes == 0;
      T* const sums = in_results ? pixels_of_y : scratch;
      const Index row = in_results ? p_.out_channels : nr;
      for (Index q = 0; starts && q < these.size(); ++q) {
        T* const first = sums + q * row;
        std::copy_n(starts, count, first);
        if (!in_results) std::fill(first + count, first + nr, T(0));
      }
      if (plan_.cell_pitch) {
        if (!starts) std::fill_n(scratch, these.size() * nr, T(0));
        add_taps(false, these, g, oc, count, planes, weights, scratch);
        // A weight that is not finite shows, and must meet the padding too, where it gives NaN.
        if (!all_finite(scratch, these.size() * nr)) {
          add_taps(true, these, g, oc, count, planes, weights, scratch);
        }
      } else {
        multiply(these, g, oc, count, planes, weights, starts != nullptr, packed, sums,
                 (in_results ? result_rows_ : rows_).data());
      }
      if (in_results) continue;
      if (plan_.writes_channels_last) {
        copy_rows(scratch, 1, nr, these.size(), count, pixels_of_y, p_.out_channels);
        continue;
      }
      for (Index q = these.begin, end; q < these.end; q = end) {
        const Index n = q / band;
        end = std::min(these.end, (n + 1) * band);
        transpose_apart(scratch + (q - these.begin) * nr, nr, end - q, count,
                        y + (n * p_.out_channels + oc) * p_.pixels() + q - n * band, p_.pixels());
      }
    }
  }
}

// sums (pixels x nr)  =  (accumulate ? sums : 0) + columns' (pixels x taps) * w' (taps x nr)
template <class T>
void PixelProducts<T>::multiply(Range pixels, Index g, Index oc, Index count, const T* planes,
                                const Weights<T>& weights, bool accumulate, T* packed, T* sums,
                                const std::ptrdiff_t* rows) const {
  const Index taps = p_.taps(), block = GemmBlocks::depth_of(taps);
  for (Index k0 = 0; k0 < taps; k0 += block) {
    const Index depth = std::min(block, taps - k0);
    const T* const panel = weights.block(g, oc, count, k0, depth, packed);
    add_tiles(depth, planes, pixels.size(), pixels_.data() + pixels.begin, taps_.data() + k0, panel,
              plan_.nr, count, sums, rows, accumulate || k0 > 0);
  }
}

// sums (pixels x nr)  +=  the products of each tap with the cells that it meets, those of the image or
// those of its padding
template <class T>
void PixelProducts<T>::add_taps(bool padding, Range pixels, Index g, Index oc, Index count,
                                const T* planes, const Weights<T>& weights, T* sums) const {
  const Index window = p_.window(), nr = plan_.nr;
  T* const packed = sums + plan_.pixels_at_once * nr;
  T* const first_sum = sums - pixels.begin * nr;
  std::vector<std::ptrdiff_t> zeros, rows;
  const Index blocks = ceil_div(p_.group_in(), plan_.weight_panels.channels);
  for (Index block = 0; block < blocks; ++block) {
    const Range ic = piece(block, blocks, p_.group_in(), 1);
    const auto w = weights.taps(g, oc, count, ic, packed);
    for (Index tap = 0; tap < window; ++tap) {
      const Range met = tap_pixels_.range(tap, {pixels.begin * nr, pixels.end * nr});
      const T* const panel = w.data + tap * w.tap;
      if (!padding) {
        add_tiles(ic.size(), planes + ic.begin, met.size(), tap_pixels_.cells.data() + met.begin,
                  taps_.data(), panel, w.channel, count, first_sum,
                  tap_pixels_.rows.data() + met.begin, true);
        continue;
      }
      rows.clear();
      const std::ptrdiff_t *next = tap_pixels_.rows.data() + met.begin, *end = next + met.size();
      for (Index q = pixels.begin; q < pixels.end; ++q) {
        if (next < end && *next == q * nr) ++next;
        else rows.push_back(q * nr);
      }
      zeros.assign(rows.size(), plan_.columns - plan_.cell_pitch);
      add_tiles(ic.size(), planes + ic.begin, static_cast<Index>(rows.size()), zeros.data(),
                taps_.data(), panel, w.channel, count, first_sum, rows.data(), true);
    }
  }
}

// Tiles of nearly equal heights, since low ones do not fill the pipeline. Each of them first fetches its share
// of the panel behind this one: 1.1 to 1.2x for images of 7x7 and 14x14, whose weights come from beyond the
// second-level cache.
template <class T>
void PixelProducts<T>::add_tiles(Index depth, const T* planes, Index count,
                                 const std::ptrdiff_t* cells, const std::ptrdiff_t* steps,
                                 const T* panel, Index panel_row, Index channels, T* sums,
                                 const std::ptrdiff_t* rows, bool accumulate) const {
  const GatherKernel<T>& kernel = kernels_of<T>().gather;
  constexpr Index line = 64 / sizeof(T);
  const Index vectors = gather_vectors<T>(channels), tiles = ceil_div(count, gather_rows<T>(channels));
  const T* next = panel + depth * panel_row;
  const T* const next_end = next + depth * panel_row;
  const Index share = tiles == 0 ? 0 : round_up(ceil_div(depth * panel_row, tiles), line);
  for (Index i = 0; i < tiles; ++i) {
    const Range these = piece(i, tiles, count, 1);
    for (const T* const end = std::min(next + share, next_end); next < end; next += line) {
      __builtin_prefetch(next, 0, 2);
    }
    kernel.tiles[these.size() - 1][vectors - 1](depth, planes, cells + these.begin, steps, panel,
                                                panel_row, sums, rows + these.begin, accumulate);
  }
}

template class PixelProducts<float>;
template class PixelProducts<double>;
template class PixelProducts<std::uint64_t>;

}  // namespace convpool
