// Plans of matrix products over columns, forward and backward. Computes nothing.
#pragma once

#include "plan.hpp"

namespace convpool {

template <class T>
Plan plan_im2col(const Conv2d& p, Operation operation, const char* reason, int threads);

// The columns of a 1x1 convolution are the image itself.
bool columns_are_input(const Conv2d& p);

}  // namespace convpool
