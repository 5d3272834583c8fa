// Matrix product over packed panels: the five loops around the micro-kernel. Knows matrices,
// nothing of images.
#pragma once

#include "dispatch.hpp"
#include "pack.hpp"

namespace convpool {

// Block sizes of the five loops (Goto and van de Geijn, "Anatomy of high-performance matrix
// multiplication", 2008): a panel of b (depth x nr) stays in the first-level cache, a block of a
// (rows x depth) in the second, a block of b (depth x columns) in the third. The depth also bounds
// the longest plain sum, and with it the rounding error.
struct GemmBlocks {
  static constexpr Index depth = 256;
  static constexpr Index rows = 192;  // a multiple of every mr
  static constexpr Index columns = 1024;
};

// The left operand a (m x k): packed once for many products, or raw, to be packed block by block
// into `packed` on the way. The second saves a small image with many channels, whose weights are
// used once, from writing them all to memory and reading them back (2x at 512 channels of 7x7).
template <class T>
struct LeftOperand {
  Matrix<T> matrix;
  T* packed;
  bool is_packed;
};

// Elements of scratch for LeftOperand::packed, and for the block of the right operand.
template <class T>
Index left_size(Index m, Index k, bool whole);
template <class T>
Index right_size(Index n, Index k);

template <class T>
LeftOperand<T> pack_left(const Matrix<T>& a, Index m, Index k, T* packed);

// c (m x n, rows ldc apart)  =  (accumulate ? c : 0) + a (m x k) * b (k x n)
template <class T>
void gemm(Index m, Index n, Index k, const LeftOperand<T>& a, const Matrix<T>& b, T* c, Index ldc,
          bool accumulate, T* packed_right);

}  // namespace convpool
