// Depthwise convolutions of images that have their channels last, where these stand: a vector holds the
// same cell of several planes, so that neither padding nor narrow images leave lanes empty. Knows such
// images and their padding, and hands out rows to threads.
#pragma once

#include "plan.hpp"
#include "view.hpp"
#include "weights.hpp"

namespace convpool {

// From one image, row or pixel of results to the next, in numbers.
struct PixelSteps {
  Index image, row, pixel;
};

// x (N, H, W, C), y (N, oh, ow, C) in steps
template <class T>
void filter_channels_last(const Conv2d& p, const Plan& plan, const View<T>& x,
                          const WeightView<T>& w, const T* bias, T* y, const PixelSteps& steps);

// dy (N, oh, ow, C), x (N, H, W, C), dw (C, 1, kh, kw)
template <class T>
void channels_last_grad_weight(const Conv2d& p, const Plan& plan, const T* dy, const View<T>& x, T* dw);

}  // namespace convpool
