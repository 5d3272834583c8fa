// Which instruction set runs. Knows CPU features and the kernel tables, nothing of convolutions.
#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"

namespace convpool {

std::vector<std::string> built_instruction_sets();
std::vector<std::string> detected_instruction_sets();

// Chosen once: the best detected one, or the one that CONVPOOL_ISA names. Throws
// std::runtime_error if that one is unknown or this CPU lacks it: never a silent substitute.
const Kernels& active_kernels();

// The kernel for a matrix product with m rows.
template <class T>
const GemmKernel<T>& gemm_kernel(std::ptrdiff_t m);
template <>
inline const GemmKernel<float>& gemm_kernel(std::ptrdiff_t m) {
  return m == 1 ? active_kernels().f32.row : active_kernels().f32.matrix;
}
template <>
inline const GemmKernel<double>& gemm_kernel(std::ptrdiff_t m) {
  return m == 1 ? active_kernels().f64.row : active_kernels().f64.matrix;
}
template <>
inline const GemmKernel<std::uint64_t>& gemm_kernel(std::ptrdiff_t m) {
  return m == 1 ? active_kernels().u64.row : active_kernels().u64.matrix;
}

}  // namespace convpool
