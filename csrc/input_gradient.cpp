#include "input_gradient.hpp"

#include <algorithm>
#include <optional>

#include "channel_filters.hpp"
#include "copies.hpp"
#include "gradient_phases.hpp"
#include "implicit_gemm.hpp"
#include "plan_channel_filters.hpp"
#include "plan_implicit_gemm.hpp"
#include "scratch.hpp"
#include "threads.hpp"
#include "winograd.hpp"

namespace convpool {
namespace {

// The weights of a phase's convolution, where the forward pass has them: channels exchanged, and its
// taps in reverse.
template <class T>
WeightView<T> weights_of(const Conv2d& p, const GradientPhase& phase, const T* w) {
  const Index last = phase.is_empty() ? 0 : phase.h.tap(0) * p.w.kernel + phase.w.tap(0);
  return {w + last,    p.group_out() * p.taps(),        p.window(),
          p.taps(),    -phase.h.tap_step * p.w.kernel, -phase.w.tap_step};
}

// The same in another order without strides. Channels are exchanged in square blocks, since neighbours on
// one side are far apart on the other.
template <class T>
void copy_weights(const Conv2d& conv, const WeightView<T>& w, int threads,
                  const WeightView<T>& order, T* copy) {
  constexpr Index side = 16;
  const Index m = conv.group_out(), k = conv.group_in(), blocks = ceil_div(m, side);
  parallel_for(threads, conv.groups * blocks, [&](Index task) {
    const Index g = task / blocks, oc0 = task % blocks * side;
    for (Index ic0 = 0; ic0 < k; ic0 += side) {
      for (Index oc = oc0; oc < std::min(oc0 + side, m); ++oc) {
        for (Index ic = ic0; ic < std::min(ic0 + side, k); ++ic) {
          const T* from = w.data + g * w.g + oc * w.m + ic * w.c;
          T* to = copy + g * order.g + oc * order.m + ic * order.c;
          for (Index kh = 0; kh < conv.h.kernel; ++kh, to += order.h) {
            for (Index kw = 0; kw < conv.w.kernel; ++kw) to[kw] = from[kh * w.h + kw * w.w];
          }
        }
      }
    }
  });
}

// The rows first, first + step, ... of some planes of dx: column by column from one result for each
// phase.
template <class T>
void interleave(const Conv2d& p, Index planes, const PhaseAxis& rows, int threads,
                const T* const* phases, const Index* widths, T* dx) {
  const Index step = std::min(p.w.stride, p.w.in), height = rows.axis.out;
  parallel_for(threads, planes, [&](Index plane) {
    T* const to = dx + (plane * p.h.in + rows.first) * p.w.in;
    const Index to_row = rows.step * p.w.in;
    // Two phases at once, as far as both go; others element by element.
    const Index paired = step == 2 ? widths[1] : 0;
    const auto phase_of = [&](Index phase) { return phases[phase] + plane * height * widths[phase]; };
    if (paired > 0) {
      kernels_of<T>().interleave_rows(phase_of(0), widths[0], phase_of(1), widths[1], height, paired,
                                      to, to_row);
    }
    for (Index phase = 0; phase < step; ++phase) {
      if (widths[phase] == paired) continue;
      for (Index i = 0; i < height; ++i) {
        const T* const from = phase_of(phase) + i * widths[phase];
        T* const row = to + i * to_row + phase;
        for (Index j = paired; j < widths[phase]; ++j) row[j * p.w.stride] = from[j];
      }
    }
  });
}

// The same of images with channels last.
template <class T>
void interleave_cells(const Conv2d& p, Index images, const PhaseAxis& rows, int threads,
                      const T* const* phases, const Index* widths, T* dx) {
  const Index step = std::min(p.w.stride, p.w.in), height = rows.axis.out, c = p.in_channels;
  parallel_for(threads, images * height, [&](Index i) {
    const Index n = quotient(i, height), ih = rows.first + (i - n * height) * rows.step;
    T* const row = dx + (n * p.h.in + ih) * p.w.in * c;
    for (Index phase = 0; phase < step; ++phase) {
      const T* const from = phases[phase] + i * widths[phase] * c;
      copy_rows(from, 1, c, widths[phase], c, row + phase * c, p.w.stride * c);
    }
  });
}

// The results of a phase that no tap reads.
template <class T>
void fill(const Conv2d& conv, bool channels_last, const T* bias, T* results) {
  const Index channels = conv.out_channels, pixels = conv.pixels();
  if (channels_last && bias) {
    for (Index i = 0; i < conv.batch * pixels; ++i) std::copy_n(bias, channels, results + i * channels);
    return;
  }
  for (Index plane = 0; plane < conv.batch * channels; ++plane) {
    std::fill_n(results + plane * pixels, pixels, bias ? bias[plane % channels] : T(0));
  }
}

// Depthwise with channels last: every phase where its cells stand, 1.4 to 1.7 times as fast as by way of
// results that are interleaved.
template <class T>
void filter_phases(const Conv2d& p, const Plan& plan, const std::vector<GradientPhase>& phases, const T* dy,
                   const T* w, const T* bias, T* dx) {
  const Index c = p.in_channels, row = p.w.in * c;
  for (Index n = 0; n < p.batch; n += plan.images_at_once) {
    for (const GradientPhase& phase : phases) {
      Conv2d conv = phase.conv;
      conv.batch = std::min(plan.images_at_once, p.batch - n);
      T* const first = dx + (n * p.h.in + phase.h.first) * row + phase.w.first * c;
      filter_channels_last(conv, plan_phase<T>(conv, plan.reason, plan.threads),
                           output_view(p, plan, dy).from(n, 0), weights_of(p, phase, w), bias, first,
                           {p.h.in * row, phase.h.step * row, phase.w.step * c});
    }
  }
}

// Without phases: plane by plane, some rows at a time.
template <class T>
void spread(const Conv2d& p, int threads, const T* dy, const T* w, const T* bias, T* dx) {
  const Index images = p.batch * p.groups, m = p.group_in();
  const Index bands = std::min(ceil_div(4 * threads, std::max<Index>(images, 1)), p.h.in);
  const Index pad = p.w.pad_before, odd = pad & 1;
  parallel_for(threads, images * bands, [&](Index task) {
    const Index plane = task / bands, g = plane % p.groups;
    const Range rows = piece(task % bands, bands, p.h.in, 1);
    kernels_of<T>().spread_image({w + g * p.group_out() * p.taps(), p.taps(),
                                  dy + plane * p.group_out() * p.pixels(), p.pixels(), p.w.out,
                                  p.h.out, p.w.out, p.group_out(), rows.begin + p.h.pad_before,
                                  (pad - odd) / 2 - (odd ? 0 : 1), odd != 0,
                                  bias ? bias + g * m : nullptr,
                                  dx + plane * m * p.in_plane() + rows.begin * p.w.in, p.in_plane(),
                                  p.w.in, rows.size(), p.w.in, m});
  });
}

}  // namespace

template <class T>
void implicit_gemm_grad_input(const Conv2d& p, const Plan& plan, const T* dy, const T* w,
                              const T* bias, T* dx) {
  const bool last = plan.writes_channels_last;
  if (!last && spreads_images<T>(p)) return spread(p, plan.threads, dy, w, bias, dx);
  std::vector<GradientPhase> phases = gradient_phases(p);
  for (GradientPhase& phase : phases) phase.conv.channels_last = last;
  if (suit_channel_filters<T>(phases)) return filter_phases(p, plan, phases, dy, w, bias, dx);
  const View<T> dy_view = output_view(p, plan, dy);
  // Kernels that gather pack any view of the weights, others want them in order.
  std::vector<std::optional<Plan>> copying;
  const bool direct = phases.size() == 1;
  const Index most = plan.images_at_once * p.in_channels;
  const Index result = direct || phases.empty() ? 0 : most * phases[0].h.axis.out * p.w.in;
  Index bytes = Scratch::bytes<T>(result);
  for (const GradientPhase& phase : phases) {
    copying.emplace_back();
    if (phase.is_empty()) continue;
    const Plan part = plan_phase<T>(phase.conv, plan.reason, plan.threads);
    if (part.packs_any_weights()) continue;
    copying.back() = part;
    bytes += Scratch::bytes<T>(p.in_channels * phase.conv.taps());
  }
  Scratch scratch(bytes);
  T* const results = scratch.take<T>(result);
  std::vector<WeightView<T>> weights;
  for (std::size_t i = 0; i < phases.size(); ++i) {
    const Conv2d& conv = phases[i].conv;
    weights.push_back(weights_of(p, phases[i], w));
    if (!copying[i]) continue;
    T* const copy = scratch.take<T>(p.in_channels * conv.taps());
    const auto order = copying[i]->by_kernel_row ? WeightView<T>::by_row(conv, copy)
                                                 : WeightView<T>::contiguous(conv, copy);
    copy_weights(conv, weights.back(), plan.threads, order, copy);
    weights.back() = order;
  }

  std::vector<const T*> starts;
  std::vector<Index> widths;
  for (Index n = 0; n < p.batch; n += plan.images_at_once) {
    const Index batch = std::min(plan.images_at_once, p.batch - n), planes = batch * p.in_channels;
    T* const images = dx + n * p.in_channels * p.in_plane();
    T* next = direct ? images : results;
    for (std::size_t i = 0; i < phases.size(); ++i) {
      GradientPhase& phase = phases[i];
      phase.conv.batch = batch;
      if (phase.is_empty()) {
        fill(phase.conv, last, bias, next);
      } else {
        const Plan part = plan_phase<T>(phase.conv, plan.reason, plan.threads);
        implicit_gemm_forward(phase.conv, part, dy_view.from(n, 0), weights[i], bias, next);
      }
      if (direct) continue;
      starts.push_back(next);
      widths.push_back(phase.w.axis.out);
      next += planes * phase.conv.pixels();
      if (phase.w.first + 1 < std::min(p.w.stride, p.w.in)) continue;
      if (last) {
        interleave_cells(p, batch, phase.h, plan.threads, starts.data(), widths.data(), images);
      } else {
        interleave(p, planes, phase.h, plan.threads, starts.data(), widths.data(), images);
      }
      starts.clear();
      widths.clear();
      next = results;
    }
  }
}

template <class T>
std::vector<Index> winograd_grad_input(const Conv2d& p, const Plan& plan, const T* dy, const T* w,
                                       const T* bias, T* dx) {
  const GradientPhase phase = gradient_phases(p)[0];
  return winograd_forward(phase.conv, plan, output_view(p, plan, dy), weights_of(p, phase, w), bias, dx);
}

#define INSTANTIATE(T)                                                                       \
  template void implicit_gemm_grad_input(const Conv2d&, const Plan&, const T*, const T*,     \
                                         const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

#define INSTANTIATE(T)                                                                              \
  template std::vector<Index> winograd_grad_input(const Conv2d&, const Plan&, const T*, const T*,   \
                                                  const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace convpool
