// The definition as plain loops: the readable baseline that every faster path is compared with.
// Sums are kept in double, those of whole numbers modulo 2^64.
#pragma once

#include "view.hpp"

namespace convpool {

template <class T>
void direct_forward(const Conv2d& p, int threads, const View<T>& x, const T* w,
                    const T* bias, T* y);

template <class T>
void direct_grad_input(const Conv2d& p, int threads, const T* dy, const T* w,
                       const T* bias, T* dx);

template <class T>
void direct_grad_weight(const Conv2d& p, int threads, const T* dy, const View<T>& x, T* dw);

}  // namespace convpool
