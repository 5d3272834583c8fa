// Pooling and its gradients. x may have any strides; all other arrays are contiguous.
#pragma once

#include "view.hpp"

namespace convpool {

// How often a cell is joined along an axis: where windows overlap, as often as their size can be
// doubled.
double joins_of_cell(const Pool2d& p);

// The same pool of images with channels last: these are numbers of the cells of one plane.
inline Pool2d in_depth(Pool2d p) {
  p.depth = p.channels;
  p.channels = 1;
  return p;
}

// x (N, C, H, W), y and indices (N, C, oh, ow); indices may be null.
template <class T>
void extremum_pool2d(const Pool2d& p, int threads, Extremum extremum, const View<T>& x, T* y,
                     Index* indices);

// Sums, not divided; of whole numbers modulo 2^64.
template <class T>
void sum_pool2d(const Pool2d& p, int threads, const View<T>& x, T* y);
template <class T>
void avg_pool2d(const Pool2d& p, int threads, const View<T>& x, T* y);
template <class T>
void avg_pool2d_grad(const Pool2d& p, int threads, const T* dy, T* dx);

// (sum of |x|^power)^(1/power), the largest |x| for an infinite power
template <class T>
void lp_pool2d(const Pool2d& p, int threads, double power, const View<T>& x, T* y);

// Values y, indices (planes, windows, depth) and x (planes, plane_size, depth): depth is 1, or the channels
// of images that have them last.
struct Places {
  Index planes, windows, plane_size, depth;
  Index values() const { return planes * windows * depth; }
};

// Gradients of shared cells add up, unpooled values overwrite. Throws std::out_of_range for an index
// outside -1 ... plane_size - 1, with x as it was if keeps_x.
template <class T>
void max_pool2d_grad(const Places& p, int threads, const T* dy, const Index* indices, T* dx,
                     bool keeps_dx);
template <class T>
void max_unpool2d(const Places& p, int threads, const T* y, const Index* indices, T* x, bool keeps_x);

}  // namespace convpool
