// What the plans of several algorithms have in common.
#pragma once

#include "gemm.hpp"
#include "plan.hpp"

namespace convpool {

// Weights that meet at most this many panels of pixels are not worth packing.
constexpr Index few_panels = 16;

// Room for the packed weights, so that what follows begins at a cache line.
template <class T>
Index shared_weights(const Conv2d& p, const Plan& plan) {
  const Index group = round_up(p.group_out(), plan.weight_panels.width) * p.taps();
  return round_up(p.groups * group, 64 / sizeof(T));
}

// Too few tasks for the threads: they share each task's columns and split its m output channels.
inline void share_if_few(Plan& plan, Index tasks, Index m) {
  plan.share_columns = tasks < 2 * plan.threads && m >= 2 * plan.weight_panels.width;
  if (!plan.share_columns) return;
  plan.channel_pieces = std::min<Index>(ceil_div(m, plan.weight_panels.width), 4 * plan.threads);
}

}  // namespace convpool
