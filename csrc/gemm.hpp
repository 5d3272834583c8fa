// Matrix product: the five loops around the micro-kernel, over operands that are packed or read in
// place. Knows matrices, nothing of images.
#pragma once

#include "dispatch.hpp"
#include "pack.hpp"

namespace convpool {

inline Index round_up(Index value, Index multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Block sizes of the five loops (Goto and van de Geijn, "Anatomy of high-performance matrix
// multiplication", 2008): a panel of b (depth x nr) stays in the first-level cache, a few tiles' rows
// of a and a block of b (depth x columns) in the second. The depth also bounds the longest plain sum,
// and with it the rounding error.
struct GemmBlocks {
  static constexpr Index depth = 256;  // at most
  static constexpr Index columns = 384;  // a multiple of every nr

  // Nearly equal blocks of a sum of k products. The cells that 192 products meet have room in 32 KiB beside
  // a panel of 32 columns, which is 1.1 times as fast; but 256 products are one block, since meeting c
  // twice takes as long as what that gains.
  static constexpr Index usual_depth = 192;
  static Index count(Index k) {
    return std::max<Index>(ceil_div(k - (depth - usual_depth), usual_depth), 1);
  }
  static Index depth_of(Index k) { return ceil_div(k, count(k)); }
};

// Rows of the tile for a product with m rows. Two tiles of 4 rows keep the pipeline full, 6 and 2 do
// not: 1.1x for groups of 8 channels, 1.2x for gradients of 10.
template <class T>
Index tile_rows(Index m) {
  const Index most = gemm_kernel<T>(m).mr;
  return m > most && m < 2 * most ? ceil_div(m, 2) : most;
}

// The tiles that gather: vectors and most rows of those with so many columns, and the width of panels for n
// columns, as few as there can be and nearly equal.
template <class T>
Index gather_vectors(Index columns) {
  return ceil_div(columns, kernels_of<T>().gather.lanes);
}
template <class T>
Index gather_rows(Index columns) {
  return kernels_of<T>().gather.most_rows[gather_vectors<T>(columns) - 1];
}
template <class T>
Index gather_width(Index n) {
  const GatherKernel<T>& kernel = kernels_of<T>().gather;
  const Index vectors = std::max<Index>(gather_vectors<T>(n), 1);
  return ceil_div(vectors, ceil_div(vectors, kernel.most_vectors)) * kernel.lanes;
}

// A panel of the left operand as the kernel reads it.
template <class T>
struct LeftPanel {
  const T* data;
  Index row, step;  // elements from one row, and from one column, to the next
};

// The left operand (m x k). Packed once for many products; or read in place, which saves a small
// image with many channels from copying weights that are used a few times (1.3x at 512 channels of
// 7x7).
template <class T>
struct LeftOperand {
  Matrix<T> matrix;
  const T* packed;
  bool in_place;

  // Rows from i on, a multiple of mr = tile_rows(m), of the block of `depth` columns from k0 on.
  LeftPanel<T> panel(Index i, Index m, Index mr, Index k0, Index depth) const {
    if (in_place) return {matrix.at(i, k0), matrix.row_stride, matrix.col_stride};
    return {packed + k0 * round_up(m, mr) + i * depth, 1, mr};
  }
};

// The right operand (k x n): a matrix, packed block by block into `packed` if that pays; or, given where
// its rows begin, read in place, if its columns are contiguous and readable up to a whole vector.
template <class T>
struct RightOperand {
  Matrix<T> matrix;
  const std::ptrdiff_t* row_offsets;  // k of them, from matrix.data; null to pack
  T* packed;

  static RightOperand of_matrix(const Matrix<T>& matrix, T* packed) {
    return {matrix, nullptr, packed};
  }
  static RightOperand of_rows(const T* data, const std::ptrdiff_t* row_offsets) {
    return {{data, 0, 1}, row_offsets, nullptr};
  }
};

// Elements of scratch for the `packed` of each, zero in place.
template <class T>
Index left_size(Index m, Index k);
template <class T>
Index right_size(Index m, Index n, Index k);

template <class T>
LeftOperand<T> pack_left(const Matrix<T>& a, Index m, Index k, T* packed);

// c (m x n)  =  (accumulate ? c : 0) + bias (m x 1) + a (m x k) * b (k x n), for some of the rows: a
// range that begins at a multiple of tile_rows(m). Rows of c are ldc apart; bias may be null.
template <class T>
void gemm(Range rows, Index m, Index n, Index k, const LeftOperand<T>& a,
          const RightOperand<T>& b, const T* bias, T* c, Index ldc, bool accumulate);

}  // namespace convpool
