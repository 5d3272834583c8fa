#include "gemm.hpp"

#include <cassert>

namespace convpool {
namespace {

Index round_up(Index value, Index multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// The one place where tiles overhang the matrix: the kernel fills a buffer, and the part that
// exists is copied out.
template <class T>
void edge_tile(const GemmKernel<T>& kernel, Index rows, Index columns, Index depth, const T* a,
               const T* b, T* c, Index ldc, bool accumulate) {
  alignas(64) T buffer[max_tile];
  kernel.tile(depth, a, b, buffer, kernel.nr, false);
  for (Index i = 0; i < rows; ++i) {
    const T* from = buffer + i * kernel.nr;
    T* to = c + i * ldc;
    for (Index j = 0; j < columns; ++j) to[j] = accumulate ? to[j] + from[j] : from[j];
  }
}

// Row panels of a block of the left operand.
template <class T>
void pack_left_block(const Matrix<T>& a, Index i0, Index rows, Index k0, Index depth, T* packed) {
  const Matrix<T> block{a.at(i0, k0), a.row_stride, a.col_stride};
  pack_panels(block.transposed(), depth, rows, gemm_kernel<T>().mr, packed);
}

// All tiles of c (rows x columns) for one packed block of each operand.
template <class T>
void multiply_blocks(Index rows, Index columns, Index depth, const T* left, const T* right, T* c,
                     Index ldc, bool accumulate) {
  const GemmKernel<T>& kernel = gemm_kernel<T>();
  const Index mr = kernel.mr, nr = kernel.nr;
  for (Index j = 0; j < columns; j += nr) {
    for (Index i = 0; i < rows; i += mr) {
      const T* a_panel = left + i * depth;
      const T* b_panel = right + j * depth;
      T* tile = c + i * ldc + j;
      if (rows - i >= mr && columns - j >= nr) {
        kernel.tile(depth, a_panel, b_panel, tile, ldc, accumulate);
      } else {
        edge_tile(kernel, std::min(mr, rows - i), std::min(nr, columns - j), depth, a_panel,
                  b_panel, tile, ldc, accumulate);
      }
    }
  }
}

}  // namespace

template <class T>
Index left_size(Index m, Index k, bool whole) {
  const Index mr = gemm_kernel<T>().mr;
  if (whole) return round_up(m, mr) * k;
  return round_up(std::min(m, GemmBlocks::rows), mr) * std::min(k, GemmBlocks::depth);
}

template <class T>
Index right_size(Index n, Index k) {
  return round_up(std::min(n, GemmBlocks::columns), gemm_kernel<T>().nr) *
         std::min(k, GemmBlocks::depth);
}

template <class T>
LeftOperand<T> pack_left(const Matrix<T>& a, Index m, Index k, T* packed) {
  const Index padded = round_up(m, gemm_kernel<T>().mr);
  for (Index k0 = 0; k0 < k; k0 += GemmBlocks::depth) {
    pack_left_block(a, 0, m, k0, std::min(GemmBlocks::depth, k - k0), packed + k0 * padded);
  }
  return {a, packed, true};
}

template <class T>
void gemm(Index m, Index n, Index k, const LeftOperand<T>& a, const Matrix<T>& b, T* c, Index ldc,
          bool accumulate, T* packed_right) {
  const Index mr = gemm_kernel<T>().mr, nr = gemm_kernel<T>().nr;
  assert(GemmBlocks::rows % mr == 0 && GemmBlocks::columns % nr == 0 && ldc >= n);

  if (k == 0 && !accumulate) {
    for (Index i = 0; i < m; ++i) std::fill_n(c + i * ldc, n, T(0));
  }
  for (Index j0 = 0; j0 < n; j0 += GemmBlocks::columns) {
    const Index columns = std::min(GemmBlocks::columns, n - j0);
    for (Index k0 = 0; k0 < k; k0 += GemmBlocks::depth) {
      const Index depth = std::min(GemmBlocks::depth, k - k0);
      const Matrix<T> right{b.at(k0, j0), b.row_stride, b.col_stride};
      pack_panels(right, depth, columns, nr, packed_right);
      for (Index i0 = 0; i0 < m; i0 += GemmBlocks::rows) {
        const Index rows = std::min(GemmBlocks::rows, m - i0);
        const T* left = a.packed + k0 * round_up(m, mr) + i0 * depth;
        if (!a.is_packed) {
          pack_left_block(a.matrix, i0, rows, k0, depth, a.packed);
          left = a.packed;
        }
        multiply_blocks(rows, columns, depth, left, packed_right, c + i0 * ldc + j0, ldc,
                        accumulate || k0 > 0);
      }
    }
  }
}

#define INSTANTIATE(T)                                                                           \
  template Index left_size<T>(Index, Index, bool);                                               \
  template Index right_size<T>(Index, Index);                                                    \
  template LeftOperand<T> pack_left(const Matrix<T>&, Index, Index, T*);                         \
  template void gemm(Index, Index, Index, const LeftOperand<T>&, const Matrix<T>&, T*, Index,    \
                     bool, T*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace convpool
