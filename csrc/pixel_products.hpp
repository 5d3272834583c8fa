// Products of pixels, the rows, with packed weights, the columns: the matrix product of the
// forward pass where the kernel gathers the pixels' windows. Knows the planes of some images and
// which of their pixels are asked for; neither bands nor threads.
#pragma once

#include <cstddef>
#include <vector>

#include "plan.hpp"
#include "weights.hpp"

namespace convpool {

// Sums run either over all taps of a channel, channel by channel, through padded planes, so that each
// block of the weights meets all pixels at once. Or over all channels of a tap, tap by tap, which
// leaves out the products with padding:
//
//   3x3 taps  .. kw=0: pixels without a cell     kh=0: none for    sums  |p0|p1|p2|..
//                  to the left are left out        the first row          ^  the rows of a tile: any
//
// (Vasudevan, Anderson and Gregg, "Parallel multi channel convolution using general matrix
// multiplication", 2017, add 1x1 convolutions likewise.)
template <class T>
class PixelProducts {
 public:
  PixelProducts(const Conv2d& p, const Plan& plan, const PlaneLayout& layout,
                const std::vector<std::ptrdiff_t>& taps);

  // y begins at the first of the pixels, of which each of some images has `band`.
  void operator()(Index images, Index band, Index g, Range channels, const T* planes,
                  const Weights<T>& weights, const T* bias, T* scratch, T* y) const;

 private:
  void multiply(Range pixels, Index g, Index oc, Index count, const T* planes,
                const Weights<T>& weights, bool accumulate, T* sums) const;
  void add_taps(bool padding, Range pixels, Index g, Index oc, Index count, const T* planes,
                const Weights<T>& weights, T* sums) const;
  void add_tiles(Index depth, const T* planes, Index count, const std::ptrdiff_t* cells,
                 const std::ptrdiff_t* steps, const T* panel, Index panel_row, Index channels,
                 T* sums, const std::ptrdiff_t* rows, bool accumulate) const;

  const Conv2d& p_;
  const Plan& plan_;
  const std::vector<std::ptrdiff_t>& taps_;
  std::vector<std::ptrdiff_t> pixels_, rows_;  // where each pixel stands in the planes, and its sums
  TapPixels tap_pixels_;
};

}  // namespace convpool
