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

// to[j*to_row + i]  =  from[i*from_row + j]  for i < rows, j < columns, where the rows of `to` may be pages
// apart.
template <class T>
void transpose_apart(const T* from, Index from_row, Index rows, Index columns, T* to, Index to_row);

}  // namespace convpool
