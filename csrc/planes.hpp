// The padded input as kernels read it: planes, one for each channel. Knows layouts in memory, nothing of
// kernels or algorithms.
#pragma once

#include <cstddef>
#include <vector>

#include "view.hpp"

namespace convpool {

// Rows of the padded input as the taps of a band of output rows meet them, so that tap (kh, kw) of
// output column ow stands at  tap_offset(kh, kw) + ow,  whatever the stride: with stride s each row
// is cut into s phases, every s-th cell.
//
//   row r   | phase 0: cells 0, s, 2s .. | phase 1: cells 1, s+1 .. | ...
//
// A vector that overhangs a row meets the next one, whose products nobody stores.
struct PlaneLayout {
  Index rows, phases;       // rows of a channel, phases of a row
  Index phase, row, plane;  // elements of each
  Index cell = 1;           // elements from one to the next

  // Where cells hold all channels together, one element is all that is from a channel to the next.
  bool channels_last() const { return plane == 1; }
  Index size(Index channels) const { return channels_last() ? rows * row : channels * plane; }

  Index tap_offset(const Conv2d& p, Index kh, Index kw) const {
    const Index column = kw * p.w.dilation;
    return kh * p.h.dilation * row + column % phases * phase + column / phases * cell;
  }
  Index pixel_offset(const Conv2d& p, Index oh, Index ow) const {
    return oh * p.h.stride * row + ow * (p.w.stride / phases) * cell;
  }
};

// The cells of one channel, with padding and slack: a wide dilation may make them more than an Index
// counts.
double padded_cells(const Conv2d& p, Index slack);

// The layout for a band of output rows; a vector of `slack` elements may be read behind the last row.
PlaneLayout plane_layout(const Conv2d& p, Index band, Index slack);

// The layout for kernels that read single cells, which can step over what lies between: no phases.
// Planes are an odd number of cache lines of `line` elements apart, so that the same cell of all
// channels is not always in the same set of the first-level cache.
PlaneLayout gather_layout(const Conv2d& p, Index band, Index line);

// The same for images with channels last, whose rows are copied whole:
//
//   row r   | cell 0: all channels of a group | cell 1 | ...
//
// Cells of eight cache lines, or more such, would all be in a few sets: these are one line longer.
PlaneLayout cell_layout(const Conv2d& p, Index band, Index line);

// An image where no window leaves it: a layout without phases too.
template <class T>
PlaneLayout image_layout(const Conv2d& p, const View<T>& x) {
  return {p.h.in, 1, x.h, x.h, x.c, x.w};
}

// Where the taps of some channels stand, from a pixel on, in their order or, of all channels, in that
// of kernel rows (kh, ic, kw); and where the pixels of a band of some images do, from the first plane
// on: the cell of a tap and a pixel stands at the sum of both.
std::vector<std::ptrdiff_t> tap_offsets(const Conv2d& p, const PlaneLayout& layout, Index channels);
std::vector<std::ptrdiff_t> tap_offsets_by_row(const Conv2d& p, const PlaneLayout& layout);
std::vector<std::ptrdiff_t> pixel_offsets(const Conv2d& p, const PlaneLayout& layout, Index images,
                                          Index image_planes, Index band);

// For each tap the pixels that it meets inside of some images, not in their padding: the cell, where
// cells are cell_pitch elements apart, and the row of the pixel's sums, row_pitch elements apart.
struct TapPixels {
  std::vector<std::ptrdiff_t> cells, rows;  // tap by tap, from the first pixel on
  std::vector<Index> first;                 // of each tap; and the end

  // Those whose rows begin in a range.
  Range range(Index tap, Range rows) const;
};
TapPixels tap_pixels(const Conv2d& p, Index cell_pitch, Index images, Index row_pitch);

// An image whose cells hold all channels together, without padding:
// cell (ih, iw) stands at  (ih * W + iw) * pitch.
template <class T>
void write_cells(const Conv2d& p, const View<T>& image, Range channels, Index pitch, T* cells);

// Writes the planes of some images of the same geometry.
template <class T>
class PlaneWriter {
 public:
  PlaneWriter(const Conv2d& p, const PlaneLayout& layout);

  // `planes` is the first plane for the first of these channels, rows the output rows of the band.
  // Constant padding need not be written again where the planes held the same band of another image.
  void operator()(const View<T>& x, Range channels, Range rows, bool padding_is_there,
                  T* planes) const;

 private:
  // Element t of a phase shows cell  first + t * phases;  those in `inside` lie in the image.
  struct Phase {
    Index first;
    Range inside;
  };

  void write_padding(const View<T>& image, Range rows, Range copied_rows, T* plane) const;
  void write_cells(const View<T>& image, Index channels, Range rows, bool padding_is_there, T* cells) const;

  const Conv2d& p_;
  PlaneLayout layout_;
  std::vector<Phase> phases_;
  T pad_;
  bool is_constant_;
};

}  // namespace convpool
