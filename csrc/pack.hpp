// Copies between images, column matrices and the panels that kernels read. Knows layouts in
// memory; knows nothing of kernels or algorithms.
#pragma once

#include "view.hpp"

namespace convpool {

// Element (i, j) stands at data[i*row_stride + j*col_stride].
template <class T>
struct Matrix {
  const T* data;
  Index row_stride, col_stride;

  const T* at(Index i, Index j) const { return data + i * row_stride + j * col_stride; }
  Matrix transposed() const { return {data, col_stride, row_stride}; }
};

// Columns of one group of channels of one image, for the output pixels in the range:
//
//                      pixel (oh, ow) = begin .. end
//                     +-----------------------------+
//   (ic, kh, kw)      |  x[ic, h.cell(oh, kh),      |
//        |            |        w.cell(ow, kw)]      |
//        v            |  or what padding shows      |
//                     +-----------------------------+   rows ld elements apart
//
// `cols` is the first row for the first of these channels.
template <class T>
void write_columns(const Conv2d& p, const View<T>& x, Range channels, Range pixels, T* cols,
                   Index ld);

// Rows of the padded input as the taps of a band of output rows meet them, so that tap (kh, kw) of
// output column ow stands at  tap_offset(kh, kw) + ow,  whatever the stride: with stride s each row
// is cut into s phases, every s-th cell.
//
//   row r   | phase 0: cells 0, s, 2s .. | slack | phase 1: cells 1, s+1 .. | slack | ...
struct PlaneLayout {
  Index rows, phases;       // rows of a channel, phases of a row
  Index phase, row, plane;  // elements of each

  Index tap_offset(const Conv2d& p, Index kh, Index kw) const {
    const Index cell = kw * p.w.dilation;
    return kh * p.h.dilation * row + cell % phases * phase + cell / phases;
  }
  Index pixel_offset(const Conv2d& p, Index oh, Index ow) const {
    return oh * p.h.stride * row + ow * (p.w.stride / phases);
  }
};

// The layout for a band of output rows; vectors of `slack` elements may be read behind each row.
PlaneLayout plane_layout(const Conv2d& p, Index band, Index slack);

// The layout for kernels that read single cells, which can step over what lies between: no phases.
// Planes are an odd number of cache lines of `line` elements apart, so that the same cell of all
// channels is not always in the same set of the first-level cache.
PlaneLayout gather_layout(const Conv2d& p, Index band, Index line);

// `planes` is the first plane for the first of these channels, rows the output rows of the band.
// Constant padding need not be written again where the planes held the same band of another image.
template <class T>
void write_planes(const Conv2d& p, const PlaneLayout& layout, const View<T>& x, Range channels,
                  Range rows, bool padding_is_there, T* planes);

// The adjoint of columns, for contiguous images: dx[...] += cols[...], constant padding dropped.
template <class T>
void add_columns(const Conv2d& p, const T* cols, Index ld, Range channels, Range pixels, T* dx);

// Panels of a matrix with `count` columns and `depth` rows, zeros behind the last column:
//
//   |0 1 .. width-1|  depth rows   |width .. 2*width-1|  depth rows   ...
//
// Rows of a left operand are packed as the columns of its transpose.
template <class T>
void pack_panels(const Matrix<T>& matrix, Index depth, Index count, Index width, T* panels);


}  // namespace convpool
