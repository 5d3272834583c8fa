// Convolutions of few output channels with small kernels, whose products read images where they stand.
// Knows which problems that suits, nothing of how the work is cut into pieces.
#pragma once

#include "dispatch.hpp"
#include "gemm.hpp"
#include "plan.hpp"
#include "view.hpp"

namespace convpool {

template <class T>
class ImageProducts {
 public:
  ImageProducts(const Conv2d& p, const Plan& plan);

  // Whether images need no planes.
  bool reads(const View<T>& x) const { return suits_ && x.w == 1; }

  // Output channels `channels` and rows `rows` of a group, given its planes, weights and biases (or
  // null), to `y`, where the first of these rows of the group's first output channel begins. `zeros` is a
  // row of padding, as wide as the image.
  void operator()(Range channels, Range rows, const View<T>& x, const LeftOperand<T>& weights,
                  const T* zeros, const T* bias, T* y) const;

 private:
  const Conv2d& p_;
  bool suits_;
};

}  // namespace convpool
