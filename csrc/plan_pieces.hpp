// What the plans of several algorithms have in common.
#pragma once

#include "cache.hpp"
#include "gemm.hpp"
#include "plan.hpp"

namespace convpool {

// Weights that meet at most this many panels of pixels are not worth packing.
constexpr Index few_panels = 16;

// Elements from one place in Winograd's tile to the next, of a panel of weights.
template <class T>
Index transformed_pitch(const Conv2d& p, const WeightPanels& panels) {
  return odd_lines<T>(panels.width * p.group_in());
}

// Elements of the packed weights of all groups.
template <class T>
Index packed_size(const Conv2d& p, const WeightPanels& panels) {
  const Index count = p.groups * ceil_div(p.group_out(), panels.width);
  if (panels.order == PanelOrder::winograd) {
    return count * WinogradTile::places * transformed_pitch<T>(p, panels);
  }
  return count * panels.width * p.taps();
}

// Room for them, so that what follows begins at a cache line.
template <class T>
Index shared_weights(const Conv2d& p, const Plan& plan) {
  return round_up(packed_size<T>(p, plan.weight_panels), 64 / sizeof(T));
}

// Too few tasks for the threads: they share each task's columns and split its m output channels.
inline void share_if_few(Plan& plan, Index tasks, Index m) {
  plan.share_columns = tasks < 2 * plan.threads && m >= 2 * plan.weight_panels.width;
  if (!plan.share_columns) return;
  plan.channel_pieces = std::min<Index>(ceil_div(m, plan.weight_panels.width), 4 * plan.threads);
}

// A task of worth_a_task multiply-adds takes so long that handing it out does not count. Nor does a thread
// need many tasks, each of which writes its padding again: 1.1x for gradients of many small images. Longer
// than interruptible_task, a user who interrupts the call would wait.
constexpr double worth_a_task = 5e5, interruptible_task = 1e9;
constexpr double most_tasks = 16;

inline Index tasks_at_once(double work, Index tasks, int threads) {
  const double each = work / static_cast<double>(std::max<Index>(tasks, 1));
  const double few = std::min(static_cast<double>(tasks) / (most_tasks * threads),
                              interruptible_task / std::max(each, 1.0));
  return static_cast<Index>(std::max(1 + worth_a_task / std::max(each, 1.0), few));
}
inline Index tasks_at_once(const Conv2d& p, Index tasks, int threads) {
  return tasks_at_once(static_cast<double>(p.batch) * p.image_multiply_adds(), tasks, threads);
}

}  // namespace convpool
