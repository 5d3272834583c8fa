// The forward pass where the kernel gathers the pixels' windows: pixels, the rows, times packed weights,
// the columns. Knows the planes of some images and which of their pixels are asked for; neither
// bands nor threads.
#pragma once

#include <cstddef>
#include <vector>

#include "plan.hpp"
#include "weights.hpp"

namespace convpool {

// Sums run over all taps of a channel, then of the next, through padded planes. Or over all channels of
// a tap, then of the next, which leaves out the products with padding. A 3x4 image, padding 1:
//
//   . . . .        the pixels that tap (0, 0) of a 3x3 kernel meets inside the image: their sums are
//   . x x x        the rows of its tiles, 6 of 12
//   . x x x
//
// (Vasudevan, Anderson and Gregg, "Parallel multi channel convolution using general matrix
// multiplication", 2017, add 1x1 convolutions likewise.)
template <class T>
class PixelProducts {
 public:
  // image_planes elements from the planes of one image to those of the next.
  PixelProducts(const Conv2d& p, const Plan& plan, const PlaneLayout& layout, Index image_planes,
                const std::vector<std::ptrdiff_t>& taps);

  // y begins at the first of the pixels (and of the group's channels, if they are last), of which each of some images has `band`.
  void operator()(Index images, Index band, Index g, Range channels, const T* planes,
                  const Weights<T>& weights, const T* bias, T* scratch, T* y) const;

 private:
  void multiply(Range pixels, Index g, Index oc, Index count, const T* planes,
                const Weights<T>& weights, bool accumulate, T* packed, T* sums,
                const std::ptrdiff_t* rows) const;
  void add_taps(bool padding, Range pixels, Index g, Index oc, Index count, const T* planes,
                const Weights<T>& weights, T* sums) const;
  void add_tiles(Index depth, const T* planes, Index count, const std::ptrdiff_t* cells,
                 const std::ptrdiff_t* steps, const T* panel, Index panel_row, Index channels,
                 T* sums, const std::ptrdiff_t* rows, bool accumulate) const;

  const Conv2d& p_;
  const Plan& plan_;
  const std::vector<std::ptrdiff_t>& taps_;
  std::vector<std::ptrdiff_t> pixels_, rows_;  // where each pixel stands in the planes, and its sums
  // Sums that are not in blocks meet memory once: whole vectors of them where the results are, if channels
  // are last. 1.1x for 1x1 layers.
  bool in_results_ = false;
  std::vector<std::ptrdiff_t> result_rows_;
  TapPixels tap_pixels_;
};

}  // namespace convpool
