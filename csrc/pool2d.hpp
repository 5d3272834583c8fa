// Pooling and its gradients: loops over windows, one image plane at a time.
#pragma once

#include "problem.hpp"

namespace convpool {

// x (planes, H, W), y and indices (planes, oh, ow); indices may be null.
template <class T>
void max_pool2d(const Pool2d& p, const T* x, T* y, Index* indices);

// into (planes, plane_size) cells: gradients of shared cells add up, unpooled values overwrite.
// Throws std::out_of_range for an index outside -1 ... plane_size - 1.
template <class T>
void max_pool2d_grad(Index planes, Index windows, Index plane_size, const T* dy,
                     const Index* indices, T* dx);
template <class T>
void max_unpool2d(Index planes, Index windows, Index plane_size, const T* y, const Index* indices,
                  T* x);

template <class T>
void avg_pool2d(const Pool2d& p, const T* x, T* y);
template <class T>
void avg_pool2d_grad(const Pool2d& p, const T* dy, T* dx);

}  // namespace convpool
