#include "channel_filters.hpp"

#include <vector>

#include "copies.hpp"
#include "dispatch.hpp"
#include "numeric.hpp"
#include "scratch.hpp"
#include "threads.hpp"

namespace convpool {
namespace {

// Rows that follow each other in a task, of which a thread takes one at a time.
Index rows_of_task(const Conv2d& p) {
  constexpr Index multiply_adds = 1 << 18;
  const double row = static_cast<double>(p.w.out) * p.out_channels * p.window();
  return std::max<Index>(1, static_cast<Index>(static_cast<double>(multiply_adds) / std::max(row, 1.0)));
}

}  // namespace

// y[c] = sum over the taps of w[tap][c] * x[tap][c]  (+ bias[c]), for all pixels of a row whose windows
// stay between its ends, then for the others one by one. Taps outside of the image read a row of padding,
// so that a weight that is not finite meets it too.
template <class T>
void filter_channels_last(const Conv2d& p, const Plan& plan, const View<T>& x,
                          const WeightView<T>& w, const T* bias, T* y) {
  const Index channels = p.in_channels, taps = p.window();
  Scratch scratch(plan.scratch_bytes);
  T* const weights = scratch.take<T>(plan.left);
  T* const padding = scratch.take<T>(plan.columns);
  T* next = weights;
  for (Index kh = 0; kh < p.h.kernel; ++kh) {
    for (Index kw = 0; kw < p.w.kernel; ++kw, next += channels) {
      copy_strided(w.data + kh * w.h + kw * w.w, w.g, channels, next);
    }
  }
  std::fill_n(padding, plan.columns, element_of<T>(p.pad_value));

  const Range columns{0, p.w.in};
  const Index begin = outputs_reading(p.w, 0, columns).begin;
  const Range whole{begin, std::max(begin, outputs_reading(p.w, p.w.kernel - 1, columns).end)};
  const Index rows = p.batch * p.h.out, at_once = rows_of_task(p);
  parallel_for(plan.threads, ceil_div(rows, at_once), [&](Index task) {
    std::vector<const T*> row(static_cast<std::size_t>(p.h.kernel)), cells(static_cast<std::size_t>(taps));
    for (Index i = task * at_once; i < std::min((task + 1) * at_once, rows); ++i) {
      const Index n = quotient(i, p.h.out), oh = i - n * p.h.out;
      for (Index kh = 0; kh < p.h.kernel; ++kh) {
        const Index ih = shown_cell(p.h, p.h.cell(oh, kh));
        row[static_cast<std::size_t>(kh)] = ih < 0 ? padding : x.at(n, 0, ih);
      }
      const auto filter = [&](Index ow, Index pixels) {
        std::size_t tap = 0;
        for (const T* const first : row) {
          for (Index kw = 0; kw < p.w.kernel; ++kw) {
            const Index iw = shown_cell(p.w, p.w.cell(ow, kw));
            cells[tap++] = iw < 0 ? padding : first + iw * channels;
          }
        }
        kernels_of<T>().filter_channels({channels, taps, pixels, p.w.dilation == 1 ? p.w.kernel : 0,
                                         weights, cells.data(), p.w.stride, bias,
                                         y + (i * p.w.out + ow) * channels});
      };
      for (Index ow = 0; ow < whole.begin; ++ow) filter(ow, 1);
      if (whole.size() > 0) filter(whole.begin, whole.size());
      for (Index ow = whole.end; ow < p.w.out; ++ow) filter(ow, 1);
    }
  });
}

#define INSTANTIATE(T) \
  template void filter_channels_last(const Conv2d&, const Plan&, const View<T>&, const WeightView<T>&, \
                                     const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

}  // namespace convpool
