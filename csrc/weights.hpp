// The weights of a forward convolution as operands of matrix products: where they are, or packed.
#pragma once

#include "gemm.hpp"
#include "plan_pieces.hpp"

namespace convpool {

// Weights (groups, C_out / groups, C_in / groups, kh, kw) of any strides, in elements. The input
// gradient reads those of the forward pass with channels exchanged and kernels reversed.
template <class T>
struct WeightView {
  const T* data;
  Index g, m, c, h, w;

  static WeightView contiguous(const Conv2d& p, const T* data) {
    return {data, p.group_out() * p.taps(), p.taps(), p.window(), p.w.kernel, 1};
  }
  // The same numbers in the order of kernel rows: (groups, C_out / groups, kh, C_in / groups, kw).
  static WeightView by_row(const Conv2d& p, const T* data) {
    const Index row = p.group_in() * p.w.kernel;
    return {data, p.group_out() * p.taps(), p.taps(), p.w.kernel, row, 1};
  }
  bool is_contiguous(const Conv2d& p) const {
    return m == p.taps() && c == p.window() && h == p.w.kernel && w == 1;
  }
};

template <class T>
class Weights {
 public:
  static void pack(const Conv2d& p, const WeightView<T>& w, const WeightPanels& panels, int threads,
                   T* packed);

  // Packs into `memory`, unless the plan has packed weights or reads them in place.
  Weights(const Conv2d& p, const Plan& plan, const WeightView<T>& w, T* memory);

  // The weights of a group as a matrix, group_out x taps; if in place, contiguous, by row or 1x1.
  LeftOperand<T> matrix(Index g) const;

  // Of a whole panel: taps k0 ... k0+depth-1 of `count` output channels from a multiple of the panel's
  // width on, tap by tap, all channels. Packed into `memory` if they are not yet.
  const T* block(Index g, Index channel, Index count, Index k0, Index depth, T* memory) const;

  // The same for all taps of some input channels, a block of PanelOrder::tap_by_tap.
  struct Taps {
    const T* data;
    Index tap, channel;  // elements from one to the next
  };
  Taps taps(Index g, Index channel, Index count, Range input_channels, T* memory) const;

  // Those of PanelOrder::winograd for a place in the tile, as a matrix of a panel's output channels.
  LeftOperand<T> transformed(Index g, Index channel, Index place) const;

 private:
  const Conv2d& p_;
  const Plan& plan_;
  WeightView<T> w_;
  const T* packed_;  // null for weights in place
};

}  // namespace convpool
