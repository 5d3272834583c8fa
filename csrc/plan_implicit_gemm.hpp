// Plans of products over padded planes, forward and backward: bands, tiles, pieces. Computes nothing.
#pragma once

#include "plan.hpp"

namespace convpool {

template <class T>
Plan plan_implicit_gemm(const Conv2d& p, const char* reason, int threads);
// The convolution of a phase of the input gradient, see gradient_phases.hpp, with finite weights.
template <class T>
Plan plan_phase(const Conv2d& conv, const char* reason, int threads);
template <class T>
Plan plan_input_gradient(const Conv2d& p, const char* reason, int threads);
template <class T>
Plan plan_weight_gradient(const Conv2d& p, const char* reason, int threads);

// The layout of the planes.
template <class T>
PlaneLayout layout_of(const Conv2d& p, const Plan& plan);

// Whether the kernel that gathers is the faster one for these channels.
template <class T>
bool pays_to_gather(const Conv2d& p);

// Whether small images with many channels are better computed tap by tap: without the products with
// padding, which are a tenth at 14x14 and a fifth at 7x7, or as a matrix of pixels.
template <class T>
bool pays_tap_by_tap(const Conv2d& p);

// A wide dilation may spread few taps over more cells than there are columns.
bool few_cells(const Conv2d& p);

// Whether this is a kernel of a size, and strides up to another, for those who read images where they
// stand: zeros around the image, the same stride both ways, no dilation.
bool suits_images(const Conv2d& p, Index kernel, Index most_stride);

// Whether filters of this image go along its rows, four at a time, since it is too large to go down it.
template <class T>
bool filters_along_rows(const Conv2d& p);

// Whether this is a 3x3 convolution for ImageTiles: with at most one column of padding, so that no vector
// but the first and the last of a tile meets it.
template <class T>
bool suits_image_tiles(const Conv2d& p);

// Whether the input gradient is best spread from dy where it stands, without phases: 2 to 3 times as
// fast with up to 8 channels a group. The sums are in the same order.
template <class T>
bool spreads_images(const Conv2d& p);

// Whether the input gradient can be, and whether it should be, convolutions of dy.
bool has_phases(const Conv2d& p);
bool suits_input_gradient(const Conv2d& p);

}  // namespace convpool
