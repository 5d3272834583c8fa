// The choice of a way to compute a convolution. Computes nothing.
#pragma once

#include "plan.hpp"

namespace convpool {

// `request` is the user's algorithm= word. "auto" considers transforms, which are computed in
// float64, only if `may_transform`: their result is then rounded to a type with fewer digits.
template <class T>
Plan plan_conv2d(const Conv2d& p, Operation operation, const std::string& request, int threads,
                 bool may_transform = false);

// The panels that "auto" wants for these weights, with all but unusual images.
template <class T>
WeightPanels usual_weight_panels(const Conv2d& weights);

// Makes a forward plan take weights that were packed before in such panels, if those are what it
// needs; plain loops go on without.
void use_packed_weights(Plan& plan, const WeightPanels& panels, const void* packed);

}  // namespace convpool
