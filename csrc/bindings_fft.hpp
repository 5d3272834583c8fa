// Convolutions and gradients that _fft.py computes. Knows which convolutions a gradient is made of, and
// what _fft.py must know of them; nothing of transforms.
#pragma once

#include "bindings.hpp"
#include "plan.hpp"

namespace convpool::bindings {

// Which numbers a transform in float64 computes as well as the other algorithms.
inline bool may_transform(const Numbers& numbers) {
  return numbers.is_integer || numbers.result.itemsize() < (numbers.is_complex ? 16 : 8);
}

// Where temporary arrays live: Python computes transforms, and its tracebacks keep arrays.
inline Home home_for(const Plan& plan) {
  return plan.algorithm == Algorithm::fft ? Home::heap : Home::scratch;
}

// All write the result, or return false if these numbers cannot be transformed. Arrays are in the type
// of the computation, with channels before rows; the bias may be no_array().
bool conv2d_by_fft(const Conv2d& p, const Plan& plan, const Numbers& numbers, const py::array& x,
                   const py::array& weight, const py::array& bias, const py::array& y);
bool grad_input_by_fft(const Conv2d& p, const Plan& plan, const Numbers& numbers,
                       const py::array& dy, const py::array& weight, const py::array& bias,
                       const py::array& dx);
bool grad_weight_by_fft(const Conv2d& p, const Plan& plan, const Numbers& numbers,
                        const py::array& dy, const py::array& x, const py::array& dw);

}  // namespace convpool::bindings
