#include "input_gradient.hpp"

#include <algorithm>
#include <memory>

#include "gradient_phases.hpp"
#include "implicit_gemm.hpp"
#include "threads.hpp"

namespace convpool {
namespace {

// The taps of a phase, in reverse:  w (group, oc, ic, kh, kw)  ->  (group, ic, oc, -kh, -kw).
// Channels are exchanged in square blocks, since neighbours on one side are far apart on the other.
template <class T>
void flip_weights(const Conv2d& p, const GradientPhase& phase, int threads, const T* w,
                  T* flipped) {
  constexpr Index side = 16;
  const Index m = p.group_in(), k = p.group_out(), taps = phase.conv.window();
  const Index blocks = ceil_div(m, side);
  std::vector<Index> sources;  // tap of w for each of the phase
  for (Index kh = 0; kh < phase.h.axis.kernel; ++kh) {
    for (Index kw = 0; kw < phase.w.axis.kernel; ++kw) {
      sources.push_back(phase.h.tap(kh) * p.w.kernel + phase.w.tap(kw));
    }
  }
  parallel_for(threads, p.groups * blocks, [&](Index task) {
    const Index g = task / blocks, ic0 = task % blocks * side;
    for (Index oc0 = 0; oc0 < k; oc0 += side) {
      for (Index ic = ic0; ic < std::min(ic0 + side, m); ++ic) {
        for (Index oc = oc0; oc < std::min(oc0 + side, k); ++oc) {
          const T* from = w + (g * k + oc) * p.taps() + ic * p.window();
          T* to = flipped + ((g * m + ic) * k + oc) * taps;
          for (const Index source : sources) *to++ = from[source];
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
    for (Index i = 0; i < height; ++i) {
      T* to = dx + (plane * p.h.in + rows.first + i * rows.step) * p.w.in;
      const auto row_of = [&](Index phase) {
        return phases[phase] + (plane * height + i) * widths[phase];
      };
      if (step == 2) {
        const T *even = row_of(0), *odd = row_of(1);
        for (Index j = 0; j < widths[1]; ++j) {
          to[2 * j] = even[j];
          to[2 * j + 1] = odd[j];
        }
        if (widths[0] > widths[1]) to[p.w.in - 1] = even[widths[0] - 1];
        continue;
      }
      for (Index phase = 0; phase < step; ++phase) {
        const T* from = row_of(phase);
        for (Index j = 0; j < widths[phase]; ++j) to[phase + j * p.w.stride] = from[j];
      }
    }
  });
}

}  // namespace

template <class T>
void implicit_gemm_grad_input(const Conv2d& p, const Plan& plan, const T* dy, const T* w,
                              const T* bias, T* dx) {
  std::vector<GradientPhase> phases = gradient_phases(p);
  const View<T> dy_view{dy, p.out_channels * p.pixels(), p.pixels(), p.w.out, 1};
  const auto new_array = [](Index count) {
    return std::unique_ptr<T[]>(new T[static_cast<std::size_t>(count)]);
  };
  // The phases share the taps among them.
  const auto flipped = new_array(p.out_channels * p.taps());
  std::vector<const T*> weights;
  T* end = flipped.get();
  for (const GradientPhase& phase : phases) {
    flip_weights(p, phase, plan.threads, w, end);
    weights.push_back(end);
    end += p.out_channels * p.group_in() * phase.conv.window();
  }

  const bool direct = phases.size() == 1;
  const Index most = plan.images_at_once * p.in_channels;
  const auto results =
      new_array(direct || phases.empty() ? 0 : most * phases[0].h.axis.out * p.w.in);
  std::vector<const T*> starts;
  std::vector<Index> widths;
  for (Index n = 0; n < p.batch; n += plan.images_at_once) {
    const Index batch = std::min(plan.images_at_once, p.batch - n), planes = batch * p.in_channels;
    T* const images = dx + n * p.in_channels * p.in_plane();
    T* next = direct ? images : results.get();
    for (std::size_t i = 0; i < phases.size(); ++i) {
      GradientPhase& phase = phases[i];
      phase.conv.batch = batch;
      if (phase.is_empty()) {
        for (Index plane = 0; plane < planes; ++plane) {
          const T value = bias ? bias[plane % p.in_channels] : T(0);
          std::fill_n(next + plane * phase.conv.pixels(), phase.conv.pixels(), value);
        }
      } else {
        const Plan part = plan_gradient_phase<T>(phase.conv, plan.threads);
        implicit_gemm_forward(phase.conv, part, dy_view.from(n, 0), weights[i], bias, next);
      }
      if (direct) continue;
      starts.push_back(next);
      widths.push_back(phase.w.axis.out);
      next += planes * phase.conv.pixels();
      if (phase.w.first + 1 < std::min(p.w.stride, p.w.in)) continue;
      interleave(p, planes, phase.h, plan.threads, starts.data(), widths.data(), images);
      starts.clear();
      widths.clear();
      next = results.get();
    }
  }
}

#define INSTANTIATE(T)                                                                       \
  template void implicit_gemm_grad_input(const Conv2d&, const Plan&, const T*, const T*,     \
                                         const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

}  // namespace convpool
