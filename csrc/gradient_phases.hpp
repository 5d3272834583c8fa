// Gradients as convolutions: the input's of dy, the weight's of x. Knows geometry, computes nothing.
#pragma once

#include "problem.hpp"

namespace convpool {

// The cells first, first + step, ... of one axis of the input. They are read by the taps first_tap,
// first_tap + tap_step, ... alone, and what these scatter into them in a row of outputs is a
// convolution of stride 1 with those taps in reverse. Stride 2, kernel 3:
//
//   cells    0   1   2   3   4        cells 0, 2, 4 are read by taps 0 and 2 of the outputs,
//   taps    |0   1   2|               cells 1, 3 by tap 1
//                   |0   1   2|
struct PhaseAxis {
  Axis axis;  // of that convolution; its kernel is 0 if no tap reads these cells
  Index first, step;
  Index first_tap, tap_step;

  // The tap of the convolution with w that is this phase's tap t.
  Index tap(Index t) const { return first_tap + (axis.kernel - 1 - t) * tap_step; }
};

struct GradientPhase {
  Conv2d conv;  // from dy to the cells of the phase
  PhaseAxis h, w;

  bool is_empty() const { return h.axis.kernel == 0 || w.axis.kernel == 0; }
};

// As many as stride_h * stride_w, rows first; those without cells are left out. Constant padding only.
std::vector<GradientPhase> gradient_phases(const Conv2d& p);

// The weight gradient: x is convolved with dy, stride and dilation exchanged. It sums over what were
// images; the input channels of a group take their place.
Conv2d weight_gradient_convolution(const Conv2d& p);

// A 1x1 convolution of the pixels of x and one of the pixels of dy have the same weight gradient, but
// transposed.
bool can_exchange(const Conv2d& p);
Conv2d exchanged(const Conv2d& p);

}  // namespace convpool
