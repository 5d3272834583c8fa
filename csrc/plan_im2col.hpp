// Plans of matrix products over columns, forward and backward. Computes nothing.
#pragma once

#include "plan.hpp"

namespace convpool {

template <class T>
Plan plan_im2col(const Conv2d& p, Operation operation, const char* reason, int threads);

// The columns of a 1x1 convolution are the image itself.
bool columns_are_input(const Conv2d& p);

// The convolution of dy with channels exchanged that is the input gradient of such a one.
Conv2d transposed_1x1(const Conv2d& p);

}  // namespace convpool
