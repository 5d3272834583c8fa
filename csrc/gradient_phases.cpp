#include "gradient_phases.hpp"

#include <cassert>
#include <numeric>
#include <utility>

namespace convpool {
namespace {

// Cell first + t*step is padded cell u = rest + (t + skipped)*step. Tap k reads it for output
// (u - k*dilation) / step, if that is whole: for k = first_tap + j*tap_step.
PhaseAxis phase_axis(const Axis& axis, Index first) {
  assert(axis.pad_mode == PadMode::constant);
  const Index step = axis.stride, padded = first + axis.pad_before;
  const Index rest = (padded % step + step) % step, skipped = (padded - rest) / step;
  PhaseAxis phase{{}, first, step, 0, step / std::gcd(step, axis.dilation)};
  while (phase.first_tap < std::min(phase.tap_step, axis.kernel) &&
         (phase.first_tap * axis.dilation - rest) % step != 0) {
    ++phase.first_tap;
  }
  Axis& a = phase.axis;
  a.in = axis.out;
  a.out = ceil_div(axis.in - first, step);
  const bool read = phase.first_tap < std::min(phase.tap_step, axis.kernel);
  a.kernel = read ? ceil_div(axis.kernel - phase.first_tap, phase.tap_step) : 0;
  if (!read) return phase;
  a.dilation = phase.tap_step * axis.dilation / step;
  const Index reach = (a.kernel - 1) * a.dilation;
  a.pad_before = reach - skipped - (rest - phase.first_tap * axis.dilation) / step;
  a.pad_after = a.out - a.in - a.pad_before + reach;
  return phase;
}

}  // namespace

std::vector<GradientPhase> gradient_phases(const Conv2d& p) {
  std::vector<GradientPhase> phases;
  phases.reserve(static_cast<std::size_t>(std::min(p.h.stride, p.h.in) * std::min(p.w.stride, p.w.in)));
  for (Index h = 0; h < std::min(p.h.stride, p.h.in); ++h) {
    for (Index w = 0; w < std::min(p.w.stride, p.w.in); ++w) {
      GradientPhase phase{{}, phase_axis(p.h, h), phase_axis(p.w, w)};
      phase.conv.batch = p.batch;
      phase.conv.in_channels = p.out_channels;
      phase.conv.out_channels = p.in_channels;
      phase.conv.groups = p.groups;
      phase.conv.channels_last = p.channels_last;
      phase.conv.h = phase.h.axis;
      phase.conv.w = phase.w.axis;
      phases.push_back(phase);
    }
  }
  return phases;
}

Conv2d weight_gradient_convolution(const Conv2d& p) {
  Conv2d conv = p;
  conv.batch = p.group_in();
  conv.in_channels = p.batch * p.groups;
  for (Axis* axis : {&conv.h, &conv.w}) {
    std::swap(axis->kernel, axis->out);
    std::swap(axis->stride, axis->dilation);
  }
  return conv;
}

bool can_exchange(const Conv2d& p) {
  const auto is_same = [](const Axis& a) {
    return a.kernel == 1 && a.stride == 1 && a.in == a.out && a.pad_before == 0;
  };
  return is_same(p.h) && is_same(p.w) && p.pixels() > 0 && p.group_in() > 0 && p.group_out() > 0;
}

Conv2d exchanged(const Conv2d& p) {
  Conv2d other = p;
  std::swap(other.in_channels, other.out_channels);
  return other;
}

}  // namespace convpool
