// Plans of depthwise convolutions with vectors of channels. Computes nothing.
#pragma once

#include <vector>

#include "gradient_phases.hpp"
#include "plan.hpp"

namespace convpool {

// Depthwise convolutions of images that have their channels last, with as many as fill a vector: where
// these stand (channel_filters.hpp).
template <class T>
bool suits_channel_filters(const Conv2d& p);
// All phases of an input gradient, which then go where they belong.
template <class T>
bool suit_channel_filters(const std::vector<GradientPhase>& phases);
template <class T>
Plan plan_channel_filters(const Conv2d& p, const char* reason, int threads);
// The weight gradient by vectors of channels too; and whether that pays, where channels have to be moved
// last for it.
template <class T>
Plan plan_channel_dots(const Conv2d& p, const char* reason, int threads);
template <class T>
bool pays_as_channel_dots(const Conv2d& p);

}  // namespace convpool
