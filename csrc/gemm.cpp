#include "gemm.hpp"

#include <cassert>

#include "threads.hpp"

namespace convpool {
namespace {

// A panel of the left operand as the kernel reads it.
template <class T>
struct LeftPanel {
  const T* data;
  Index row, step;
};

template <class T>
struct RightPanel {
  const T* data;
  const std::ptrdiff_t* offsets;
};

// A tile that runs on over blocks of the result: the kernel fills a buffer, which is copied out.
template <class T>
void copy_tile(const T* buffer, Index buffer_row, Index rows, Range columns, const Product<T>& c,
               Index i, bool accumulate) {
  for (Index j = columns.begin, end; j < columns.end; j = end) {
    end = std::min(columns.end, (j / c.block + 1) * c.block);
    for (Index r = 0; r < rows; ++r) {
      const T* from = buffer + r * buffer_row + j - columns.begin;
      T* to = c.column(j) + (i + r) * c.ld;
      for (Index t = 0; t < end - j; ++t) to[t] = accumulate ? to[t] + from[t] : from[t];
    }
  }
}

}  // namespace

template <class T>
Index left_size(Index m, Index k) {
  return round_up(m, gemm_kernel<T>(m).mr) * k;
}

template <class T>
Index right_size(Index m, Index n, Index k) {
  const GemmKernel<T>& kernel = gemm_kernel<T>(m);
  const Index columns = round_up(std::min(n, GemmBlocks::columns), kernel.nr);
  return columns * std::min(k, GemmBlocks::depth) + kernel.lanes;
}

template <class T>
LeftOperand<T> pack_left(const Matrix<T>& a, Index m, Index k, T* packed, int threads) {
  const Index mr = gemm_kernel<T>(m).mr, padded = round_up(m, mr);
  parallel_for(threads, ceil_div(k, GemmBlocks::depth), [&](Index block) {
    const Index k0 = block * GemmBlocks::depth, depth = std::min(GemmBlocks::depth, k - k0);
    const Matrix<T> columns{a.at(0, k0), a.row_stride, a.col_stride};
    pack_panels(columns.transposed(), depth, m, mr, packed + k0 * padded);
  });
  return {a, packed, false};
}

template <class T>
void gemm(Range rows, Index m, Index n, Index k, const LeftOperand<T>& a,
          const RightOperand<T>& b, const Product<T>& c, bool accumulate) {
  const GemmKernel<T>& kernel = gemm_kernel<T>(m);
  const Index mr = kernel.mr, nr = kernel.nr;
  assert(GemmBlocks::rows % mr == 0 && GemmBlocks::columns % nr == 0);
  assert(rows.begin % mr == 0 && rows.end <= m);
  std::ptrdiff_t panel_offsets[GemmBlocks::depth];
  for (Index i = 0; i < std::min(k, GemmBlocks::depth) && !b.row_offsets; ++i) {
    panel_offsets[i] = i * nr;
  }

  // Rows that are read in place stay in the first-level cache while the columns go past.
  const Index block_rows = a.in_place ? 4 * mr : GemmBlocks::rows;

  if (k == 0 && !accumulate) {
    for (Index i = rows.begin; i < rows.end; ++i) {
      for (Index j = 0; j < n; j += c.block) {
        std::fill_n(c.column(j) + i * c.ld, std::min(c.block, n - j), T(0));
      }
    }
  }
  for (Index j0 = 0; j0 < n; j0 += GemmBlocks::columns) {
    const Index j_end = std::min(n, j0 + GemmBlocks::columns);
    for (Index k0 = 0; k0 < k; k0 += GemmBlocks::depth) {
      const Index depth = std::min(GemmBlocks::depth, k - k0);
      if (!b.row_offsets && !b.columns) {
        const Matrix<T> block{b.matrix.at(k0, j0), b.matrix.row_stride, b.matrix.col_stride};
        pack_panels(block, depth, j_end - j0, nr, b.packed);
      }
      for (Index i0 = rows.begin; i0 < rows.end; i0 += block_rows) {
        const Index i_end = std::min(rows.end, i0 + block_rows);
        for (Index j = j0; j < j_end; j += nr) {
          if (b.columns && i0 == rows.begin) {
            // Just before its use, which finds it in the first-level cache.
            pack_panels(*b.columns, k0, depth, j, std::min(nr, j_end - j), nr,
                        b.packed + (j - j0) * depth);
          }
          const RightPanel<T> right =
              b.row_offsets ? RightPanel<T>{b.matrix.data + j, b.row_offsets + k0}
                            : RightPanel<T>{b.packed + (j - j0) * depth, panel_offsets};
          const Range columns{j, std::min(j + nr, n)};
          const Index vectors = ceil_div(columns.size(), kernel.lanes);
          const bool in_one_block = c.block >= n || j % c.block + columns.size() <= c.block;
          T* const c_j = c.block >= n ? c.data + j : c.column(j);
          const bool add = accumulate || k0 > 0;
          for (Index i = i0; i < i_end; i += mr) {
            const LeftPanel<T> left =
                a.in_place
                    ? LeftPanel<T>{a.matrix.at(i, k0), a.matrix.row_stride, a.matrix.col_stride}
                    : LeftPanel<T>{a.packed + k0 * round_up(m, mr) + i * depth, 1, mr};
            const Index tile_rows = std::min(mr, i_end - i);
            const GemmTile<T> tile = kernel.tiles[tile_rows - 1][vectors - 1];
            if (in_one_block) {
              tile(depth, left.data, left.row, left.step, right.data, right.offsets,
                   c_j + i * c.ld, c.ld, columns.size(), add);
            } else {
              alignas(64) T buffer[GemmKernel<T>::max_size];
              tile(depth, left.data, left.row, left.step, right.data, right.offsets, buffer, nr,
                   columns.size(), false);
              copy_tile(buffer, nr, tile_rows, columns, c, i, add);
            }
          }
        }
      }
    }
  }
}

#define INSTANTIATE(T)                                                                           \
  template Index left_size<T>(Index, Index);                                                     \
  template Index right_size<T>(Index, Index, Index);                                             \
  template LeftOperand<T> pack_left(const Matrix<T>&, Index, Index, T*, int);                    \
  template void gemm(Range, Index, Index, Index, const LeftOperand<T>&, const RightOperand<T>&,  \
                     const Product<T>&, bool);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

}  // namespace convpool
