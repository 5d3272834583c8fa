// Convolutions with kernels of 3x3 by Winograd's minimal filtering: a quarter of the multiplications.
#pragma once

#include <vector>

#include "plan.hpp"
#include "view.hpp"
#include "weights.hpp"

namespace convpool {

// A tile of 4x4 results of one channel, with 6x6 cells d and a kernel w, is
//
//   y  =  A' [ (G w G') * (B' d B) ] A        (* place by place)
//
// so that the sum over channels is a matrix product for each of the 36 places in a tile, and a result
// takes 36 / 16 multiplications a channel instead of 9 (Lavin and Gray, "Fast algorithms for convolutional
// neural networks", 2016). The matrices evaluate polynomials at the points 0, 1, -1, 1/2, -2 and infinity,
// which have two thirds of the error of the paper's 0, +-1, +-2:
//
//        |1 -3/2  -2  3/2  1  0|        | 1    0    0 |         |1 1  1  1    1  0|
//        |0  -1  1/2  5/2  1  0|        |1/3  1/3  1/3|         |0 1 -1 1/2  -2  0|
//   B' = |0   1 -5/2  1/2  1  0|    G = |-1/3 1/3 -1/3|    A' = |0 1  1 1/4   4  0|
//        |0  -2  -1    2   1  0|        |-16/15 -8/15 -4/15|    |0 1 -1 1/8  -8  1|
//        |0  1/2 -1  -1/2  1  0|        |1/15 -2/15 4/15|
//        |0   1 -3/2  -2  3/2 1|        | 0    0    1 |
//
// The error is two to three times that of sums in order, and relative to the largest cells of a tile and
// all channels, not to those that a result sums. A cell that is not finite spoils its tiles, and so may
// sums that overflow halfway: images where that happened are returned, to be computed in another way.
template <class T>
std::vector<Index> winograd_forward(const Conv2d& p, const Plan& plan, const View<T>& x,
                                    const WeightView<T>& w, const T* bias, T* y);

}  // namespace convpool
