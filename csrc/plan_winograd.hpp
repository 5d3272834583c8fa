// Winograd's convolution: for which convolutions there is one, when it pays, and in which pieces it runs.
// Computes nothing.
#pragma once

#include "plan.hpp"

namespace convpool {

// Kernels of 3x3 with stride and dilation 1.
bool has_winograd(const Conv2d& p);

// Where one of those is clearly faster; such plans are less exact, see winograd.hpp.
bool pays_as_winograd(const Conv2d& p);

// Of a convolution with results and sums to take.
template <class T>
Plan plan_winograd(const Conv2d& p, const char* reason, int threads);

// The pieces that the columns of tiles are cut into, plan.tile_columns or one less each.
Range tile_columns(const Conv2d& p, const Plan& plan, Index i);

// The convolution whose windows are the cells of such tiles, its outputs the tiles.
Conv2d tiles_of(const Conv2d& p, Range columns);

// Elements from one channel's tiles to the next, whose last row of tiles may be overhung by a vector.
template <class T>
Index tiles_pitch(const Plan& plan);

}  // namespace convpool
