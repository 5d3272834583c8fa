#include "gemm.hpp"

#include <cassert>


namespace convpool {
namespace {

template <class T>
struct RightPanel {
  const T* data;
  const std::ptrdiff_t* offsets;
};

}  // namespace

template <class T>
Index left_size(Index m, Index k) {
  return round_up(m, tile_rows<T>(m)) * k;
}

template <class T>
Index right_size(Index m, Index n, Index k) {
  const GemmKernel<T>& kernel = gemm_kernel<T>(m);
  const Index columns = round_up(std::min(n, GemmBlocks::columns), kernel.nr);
  return columns * GemmBlocks::depth_of(k);
}

template <class T>
LeftOperand<T> pack_left(const Matrix<T>& a, Index m, Index k, T* packed) {
  const Index mr = tile_rows<T>(m), padded = round_up(m, mr);
  const Index block = GemmBlocks::depth_of(k);
  for (Index k0 = 0; k0 < k; k0 += block) {
    const Matrix<T> columns{a.at(0, k0), a.row_stride, a.col_stride};
    pack_panels(columns.transposed(), std::min(block, k - k0), m, mr,
                packed + k0 * padded);
  }
  return {a, packed, false};
}

template <class T>
void gemm(Range rows, Index m, Index n, Index k, const LeftOperand<T>& a,
          const RightOperand<T>& b, const T* bias, T* c, Index ldc, bool accumulate) {
  const GemmKernel<T>& kernel = gemm_kernel<T>(m);
  const Index mr = tile_rows<T>(m), nr = kernel.nr;
  assert(GemmBlocks::columns % nr == 0);
  assert(rows.begin % mr == 0 && rows.end <= m && !(bias && accumulate));
  // Rows of b that are contiguous are read where they are, but for the last columns, if no more than two
  // tiles meet them: up to 3x for 1x1 convolutions to 1 or 3 channels, 1.3x to 12 or 16.
  const bool packs = !b.row_offsets, reads_rows = packs && b.matrix.col_stride == 1 && m <= 2 * mr;
  std::ptrdiff_t panel_offsets[GemmBlocks::depth], rows_apart[GemmBlocks::depth];
  const Index block_depth = GemmBlocks::depth_of(k);
  for (Index i = 0; i < block_depth && packs; ++i) {
    panel_offsets[i] = i * nr;
    rows_apart[i] = i * b.matrix.row_stride;
  }

  // c is written along its rows, not a cache line of many rows in turn, which may be pages apart: a
  // tile's rows where the columns stay in the first-level cache (1.6x for 3 channels of 224x224), else
  // those of a few tiles, which stay there while the columns go past (1.1x for 64 to 256 channels of
  // 56x56, 1.3x in fresh memory).
  constexpr Index first_level_bytes = Index{1} << 15, few_tiles = 4;
  const Index columns_bytes = block_depth * std::min(n, GemmBlocks::columns) * Index{sizeof(T)};
  const Index block_rows = columns_bytes <= first_level_bytes ? mr : few_tiles * mr;

  for (Index i = rows.begin; k == 0 && !accumulate && i < rows.end; ++i) {
    std::fill_n(c + i * ldc, n, bias ? bias[i] : T(0));
  }
  for (Index j0 = 0; j0 < n; j0 += GemmBlocks::columns) {
    const Index j_end = std::min(n, j0 + GemmBlocks::columns);
    for (Index k0 = 0; k0 < k; k0 += block_depth) {
      const Index depth = std::min(block_depth, k - k0);
      const Index first_packed = reads_rows ? j_end - (j_end - j0) % nr : j0;
      if (packs) {
        const Matrix<T> block{b.matrix.at(k0, first_packed), b.matrix.row_stride, b.matrix.col_stride};
        pack_panels(block, depth, j_end - first_packed, nr, b.packed);
      }
      for (Index i0 = rows.begin; i0 < rows.end; i0 += block_rows) {
        const Index i_end = std::min(rows.end, i0 + block_rows);
        for (Index j = j0; j < j_end; j += nr) {
          const RightPanel<T> right =
              !packs             ? RightPanel<T>{b.matrix.data + j, b.row_offsets + k0}
              : j < first_packed ? RightPanel<T>{b.matrix.at(k0, j), rows_apart}
                                 : RightPanel<T>{b.packed + (j - first_packed) * depth, panel_offsets};
          const Index columns = std::min(nr, n - j), vectors = ceil_div(columns, kernel.lanes);
          for (Index i = i0; i < i_end; i += mr) {
            const LeftPanel<T> left = a.panel(i, m, mr, k0, depth);
            kernel.tiles[std::min(mr, i_end - i) - 1][vectors - 1](
                depth, left.data, left.row, left.step, right.data, right.offsets,
                bias && k0 == 0 ? bias + i : nullptr, c + i * ldc + j, ldc, columns,
                accumulate || k0 > 0);
          }
        }
      }
    }
  }
}

#define INSTANTIATE(T)                                                                           \
  template Index left_size<T>(Index, Index);                                                     \
  template Index right_size<T>(Index, Index, Index);                                             \
  template LeftOperand<T> pack_left(const Matrix<T>&, Index, Index, T*);                         \
  template void gemm(Range, Index, Index, Index, const LeftOperand<T>&, const RightOperand<T>&,  \
                     const T*, T*, Index, bool);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

}  // namespace convpool
