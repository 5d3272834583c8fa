// The choice of a way to compute a convolution. Computes nothing.
#pragma once

#include "plan.hpp"

namespace convpool {

// `request` is the user's algorithm= word. "auto" considers transforms, which are computed in
// float64, only if `may_transform`: their result is then rounded to a type with fewer digits.
template <class T>
Plan plan_conv2d(const Conv2d& p, Operation operation, const std::string& request, int threads,
                 bool may_transform = false);

// Cells of x and y that are moved, if a forward plan does not leave channels last where they are.
Index moved_cells(const Conv2d& p, const Plan& plan);

// Makes a forward plan take weights that were packed before as its weight_panels say.
void use_packed_weights(Plan& plan, const void* packed);

}  // namespace convpool
