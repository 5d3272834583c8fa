// Convolution as a matrix product that reads the windows from the padded image: no columns.
#pragma once

#include "plan.hpp"
#include "view.hpp"

namespace convpool {

template <class T>
void implicit_gemm_forward(const Conv2d& p, const Plan& plan, const View<T>& x, const T* w,
                           const T* bias, T* y);

}  // namespace convpool
