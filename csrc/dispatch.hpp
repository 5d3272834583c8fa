// Which instruction set runs. Knows CPU features and the kernel tables, nothing of convolutions.
#pragma once

#include <string>
#include <type_traits>
#include <vector>

#include "kernels.hpp"

namespace convpool {

std::vector<std::string> built_instruction_sets();
std::vector<std::string> detected_instruction_sets();

// Chosen once: the best detected one, or the one that CONVPOOL_ISA names. Throws
// std::runtime_error if that one is unknown or this CPU lacks it: never a silent substitute.
const Kernels& active_kernels();

// The kernels for numbers of a type.
template <class T>
const KernelsFor<T>& kernels_of();
template <>
inline const KernelsFor<float>& kernels_of() {
  return active_kernels().f32;
}
template <>
inline const KernelsFor<double>& kernels_of() {
  return active_kernels().f64;
}
template <>
inline const KernelsFor<std::uint64_t>& kernels_of() {
  return active_kernels().u64;
}

template <class T>
bool all_finite(const T* values, std::ptrdiff_t count) {
  if constexpr (std::is_integral_v<T>) {
    return true;
  } else {
    const ExtremumKernels<T>& kernels = active_kernels().pool;
    return kernels.all_finite(count, values);
  }
}

// The kernel for a matrix product with m rows.
template <class T>
const GemmKernel<T>& gemm_kernel(std::ptrdiff_t m) {
  const GemmKernels<T>& kernels = kernels_of<T>().gemm;
  return m == 1 ? kernels.row : m <= kernels.few_rows.mr ? kernels.few_rows : kernels.matrix;
}

}  // namespace convpool
