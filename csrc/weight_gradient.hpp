// The weight gradient read from padded planes, without columns.
#pragma once

#include "plan.hpp"
#include "view.hpp"

namespace convpool {

// See conv2d_grad_weight, whose Algorithm::implicit_gemm this is.
template <class T>
void implicit_gemm_grad_weight(const Conv2d& p, const Plan& plan, const T* dy, const View<T>& x,
                               T* dw);

}  // namespace convpool
