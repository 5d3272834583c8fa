// Convolution as a matrix product that reads the windows from the padded image: no columns.
#pragma once

#include "plan.hpp"
#include "view.hpp"

namespace convpool {

template <class T>
void implicit_gemm_forward(const Conv2d& p, const Plan& plan, const View<T>& x, const T* w,
                           const T* bias, T* y);

// For stride 1 and finite weights: zeros beside dy are multiplied with them.
template <class T>
void implicit_gemm_grad_input(const Conv2d& p, const Plan& plan, const T* dy, const T* w,
                              const T* bias, T* dx);

}  // namespace convpool
