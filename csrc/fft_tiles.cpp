#include "fft_tiles.hpp"

#include <cmath>
#include <new>
#include <vector>

#include "tile_transform.hpp"

namespace convpool {
namespace {

// Measured on AVX-512: nanoseconds for each cell of a plane that is transformed one way, with the
// copies and checks around it, or multiplied with one kernel and added; and for the calls of one tile.
constexpr double transform_ns = 3.2, multiply_ns = 0.9, tile_ns = 6e4;

// The other algorithms at their best, at the ceiling of the multiply-add units. With narrower vectors
// all of these take longer alike.
constexpr double multiply_add_ns = 0.017;

// Transforms must be this much faster before they are worth their rounding.
constexpr double clear_gain = 1.2;

// Spectra of a tile that a thread multiplies at once, and of kernels that are kept for all tiles.
constexpr double tile_bytes = 1 << 22, kernel_bytes = 1 << 26;

// One axis as the transforms see it: every output of stride 1, windows with their gaps. A transform
// holds the shorter of both and as much of the longer as fits.
struct Dense {
  explicit Dense(const Axis& a)
      : axis(a), out((a.out - 1) * a.stride + 1), span((a.kernel - 1) * a.dilation + 1) {}

  const Axis& axis;
  Index out, span;

  Index shorter() const { return std::min(out, span); }
  bool cuts_kernel() const { return span > out; }
  Index kernel_part(Index size) const {
    return cuts_kernel() ? std::min(axis.kernel, (size - out) / axis.dilation + 1) : axis.kernel;
  }
  Index parts(Index size) const { return ceil_div(axis.kernel, kernel_part(size)); }
  double tiles(Index size) const {
    return cuts_kernel() ? 1 : static_cast<double>(ceil_div(out, size - span + 1));
  }
};

// Multiples of `factor` without large prime factors, from the shorter to a tile several times as
// wide; none but the last holds the whole axis.
std::vector<Index> candidates(const Dense& axis, Index factor) {
  const Index whole = axis.out + axis.span - 1, least = axis.shorter();
  const Index most = std::max(factor, std::min(whole, std::max<Index>(4 * least, 320)));
  std::vector<Index> sizes;
  for (Index twos = factor; twos < 2 * most; twos *= 2) {
    for (Index threes = twos; threes < 2 * most; threes *= 3) {
      for (Index n = threes; n < 2 * most; n *= 5) {
        if (n >= least) sizes.push_back(n);
      }
    }
  }
  std::sort(sizes.begin(), sizes.end());
  const auto last = std::lower_bound(sizes.begin(), sizes.end(), most);
  sizes.erase(last == sizes.end() ? last : last + 1, sizes.end());
  return sizes;
}

struct Tiling {
  FftTiles tiles;
  double nanoseconds = HUGE_VAL;
};

Tiling best_tiling(const Conv2d& p, Index images) {
  const Dense h(p.h), w(p.w);
  const double ic = static_cast<double>(p.in_channels), oc = static_cast<double>(p.out_channels);
  const double pairs = oc * static_cast<double>(p.group_in());
  Tiling best;
  const std::vector<Index> widths = candidates(w, TileTransform::width_unit);
  for (Index height : candidates(h, 2)) {
    for (Index width : widths) {
      const double cells = static_cast<double>(height) * static_cast<double>(width);
      // Planes that leave the caches are transformed more slowly.
      const double slowed = cells * (1 + cells / (1 << 20));
      const double parts = static_cast<double>(h.parts(height) * w.parts(width));
      const double tile_cell_ns = transform_ns * (parts * ic + oc) + multiply_ns * parts * pairs;
      const double tiles = static_cast<double>(images) * h.tiles(height) * w.tiles(width);
      const double ns =
          tiles * (tile_ns + slowed * tile_cell_ns) + slowed * transform_ns * parts * pairs;
      if (ns < best.nanoseconds) {
        best = {{height, width, h.kernel_part(height), w.kernel_part(width)}, ns};
      }
    }
  }
  return best;
}

// Parts of a kernel with all its channels, whose spectra are needed at once.
double kernel_terms(const Conv2d& p, const FftTiles& tiles) {
  const Index parts =
      ceil_div(p.h.kernel, tiles.kernel_height) * ceil_div(p.w.kernel, tiles.kernel_width);
  return static_cast<double>(p.group_in()) * static_cast<double>(parts);
}

double plane_bytes(const FftTiles& tiles) {
  return 8 * static_cast<double>(TileTransform::spectrum_size(tiles.height, tiles.width));
}

// Shares the tiles among threads, and says what memory they take.
FftTiles with_memory(FftTiles tiles, const Conv2d& p, int threads) {
  const Dense h(p.h), w(p.w);
  const double count = h.tiles(tiles.height) * w.tiles(tiles.width) * static_cast<double>(p.batch);
  tiles.threads = static_cast<int>(std::clamp<double>(count, 1, threads));

  const double plane = plane_bytes(tiles), terms = kernel_terms(p, tiles);
  const double oc = static_cast<double>(p.group_out());
  const double most = std::min(tile_bytes / plane, kernel_bytes / (terms * plane));
  const auto fitting = [&](double planes, Index wanted) {
    return std::clamp<Index>(static_cast<Index>(most / planes), 1, wanted);
  };
  tiles.groups_at_once = fitting(oc, p.groups);
  tiles.channels_at_once = fitting(1, p.group_out());

  // In units of a plane: cells and their spectrum; products and their sum.
  const double groups = static_cast<double>(tiles.groups_at_once);
  const double kernels = groups * static_cast<double>(tiles.channels_at_once);
  const double task = 2 * groups + 2 * kernels;
  const double working = plane * (kernels * terms + tiles.threads * task);
  const double transforming =
      tiles.threads * static_cast<double>(TileTransform::scratch_bytes(tiles.height, tiles.width));
  // Cells of all input channels, for outputs that are computed by their definition.
  const double defining = plane * tiles.threads * (2 * groups * terms + kernels);
  const double bytes = working + transforming + defining;
  if (bytes > 1e15) throw std::bad_alloc();
  tiles.working_bytes = static_cast<Index>(working);
  tiles.scratch_bytes = static_cast<Index>(bytes);
  return tiles;
}

}  // namespace

FftTiles fft_tiles(const Conv2d& p, Index images, int threads) {
  // A dilation may spread a few taps over more cells than any memory has.
  const double span = static_cast<double>(Dense(p.h).span) * static_cast<double>(Dense(p.w).span);
  if (span > 1e12) throw std::bad_alloc();
  return with_memory(best_tiling(p, images).tiles, p, threads);
}

std::optional<FftTiles> worthwhile_fft_tiles(const Conv2d& p, Index images, int threads) {
  if (p.taps() == 0) return {};
  const double others_ns = static_cast<double>(images) * p.image_multiply_adds() * multiply_add_ns;
  if (others_ns <= tile_ns) return {};
  const Tiling best = best_tiling(p, images);
  const bool gains = clear_gain * best.nanoseconds <= others_ns &&
                     kernel_terms(p, best.tiles) * plane_bytes(best.tiles) <= 2 * kernel_bytes;
  return gains ? std::optional(with_memory(best.tiles, p, threads)) : std::nullopt;
}

}  // namespace convpool
