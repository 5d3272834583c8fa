// The input gradient, and the transposed convolution, as convolutions of dy.
#pragma once

#include <vector>

#include "plan.hpp"

namespace convpool {

// See conv2d_grad_input, whose Algorithm::implicit_gemm this is. All weights must be finite: zeros
// stand around dy.
template <class T>
void implicit_gemm_grad_input(const Conv2d& p, const Plan& plan, const T* dy, const T* w,
                              const T* bias, T* dx);

// The same of kernels of 3x3 with stride 1, whose plan is that of the convolution of dy. Returns images
// to be computed in another way, see winograd_forward.
template <class T>
std::vector<Index> winograd_grad_input(const Conv2d& p, const Plan& plan, const T* dy, const T* w,
                                       const T* bias, T* dx);

}  // namespace convpool
