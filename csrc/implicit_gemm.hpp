// Convolution as a matrix product that reads the windows from the padded image: no columns.
#pragma once

#include "plan.hpp"
#include "view.hpp"
#include "weights.hpp"

namespace convpool {

template <class T>
void implicit_gemm_forward(const Conv2d& p, const Plan& plan, const View<T>& x,
                           const WeightView<T>& w, const T* bias, T* y);

}  // namespace convpool
