// Convolution and its gradients: one entry each, which goes the way that the plan says. x may have
// any strides, but for columns_are_input, which takes rows that follow each other; all other arrays
// are contiguous.
#pragma once

#include "plan.hpp"
#include "view.hpp"

namespace convpool {

template <class T>
void conv2d_forward(const Conv2d& p, const Plan& plan, const View<T>& x, const T* w, const T* bias,
                    T* y);

// With a bias (C_in) or null: it makes this the transposed convolution.
template <class T>
void conv2d_grad_input(const Conv2d& p, const Plan& plan, const T* dy, const T* w, const T* bias,
                       T* dx);

template <class T>
void conv2d_grad_weight(const Conv2d& p, const Plan& plan, const T* dy, const View<T>& x,
                        T* dw);

// dy (N, C, pixels) summed over n and pixels
template <class T>
void conv2d_grad_bias(int threads, Index batch, Index channels, Index pixels, const T* dy, T* db);

// x (N, C, H, W), cols (N, taps, pixels): every window as a column, and its adjoint. One group.
template <class T>
void im2col(const Conv2d& p, int threads, const View<T>& x, T* cols);
template <class T>
void col2im(const Conv2d& p, int threads, const T* cols, T* x);

}  // namespace convpool
