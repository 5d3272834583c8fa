// The contract between the drivers and the instruction-set files: plain structs, no code.
#pragma once

#include <cstddef>

namespace convpool {

// One register tile of a matrix product over packed panels:
//
//   c[i*ldc + j]  =  (accumulate ? c[i*ldc + j] : 0)  +  sum over k of a[k*mr + i] * b[k*nr + j]
//
//                      b, one panel      k  |0 1 .. nr-1|nr ..
//                      of nr columns        v---------------->
//   a, one panel     +---------------------------------------+
//   of mr rows       |  the mr x nr products stay in registers
//   k |0 1 .. mr-1|  |  over the whole sum, then meet c once
//
// - k >= 1; a and b are read in full: mr*k and nr*k elements, zeros where the matrix ends.
// - c is written in full; the driver passes a buffer for tiles that overhang the matrix.
// - a, b and c may have any alignment and must not overlap.
// - Sums run over k in order, so results do not depend on mr or nr.
template <class T>
struct GemmKernel {
  std::ptrdiff_t mr, nr;
  void (*tile)(std::ptrdiff_t k, const T* a, const T* b, T* c, std::ptrdiff_t ldc, bool accumulate);
};

// No instruction set's tile is larger (mr * nr); it sizes the driver's edge buffer.
constexpr std::ptrdiff_t max_tile = 512;

struct Kernels {
  const char* name;
  GemmKernel<float> f32;
  GemmKernel<double> f64;
};

extern const Kernels kernels_base, kernels_avx2, kernels_avx512;

}  // namespace convpool
