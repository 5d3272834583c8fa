#include "channel_filters.hpp"

#include <vector>

#include "copies.hpp"
#include "dispatch.hpp"
#include "numeric.hpp"
#include "scratch.hpp"
#include "threads.hpp"

namespace convpool {
namespace {

// The cells that the windows of a row of outputs see. Taps outside of the image see a row of padding, so
// that a number that is not finite meets it too.
template <class T>
class WindowRow {
 public:
  // `padding` is as wide as a row of the image.
  WindowRow(const Conv2d& p, const View<T>& x, T* padding)
      : p_(p), x_(x), padding_(padding), rows_(static_cast<std::size_t>(p.h.kernel)),
        cells_(static_cast<std::size_t>(p.window())) {
    const Range columns{0, p.w.in};
    whole_.begin = outputs_reading(p.w, 0, columns).begin;
    whole_.end = std::max(whole_.begin, outputs_reading(p.w, p.w.kernel - 1, columns).end);
  }

  static void write_padding(const Conv2d& p, T* padding) {
    std::fill_n(padding, p.w.in * p.in_channels, element_of<T>(p.pad_value));
  }

  // Calls use(ow, pixels, cells): the first window, and how many of them see the same cells, a stride
  // further each. Windows at the ends of a row come one by one.
  template <class Use>
  void operator()(Index n, Index oh, const Use& use) {
    for (Index kh = 0; kh < p_.h.kernel; ++kh) {
      const Index ih = shown_cell(p_.h, p_.h.cell(oh, kh));
      rows_[static_cast<std::size_t>(kh)] = ih < 0 ? padding_ : x_.at(n, 0, ih);
    }
    for (Index ow = 0; ow < whole_.begin; ++ow) use(ow, Index{1}, cells_at(ow));
    if (whole_.size() > 0) use(whole_.begin, whole_.size(), cells_at(whole_.begin));
    for (Index ow = whole_.end; ow < p_.w.out; ++ow) use(ow, Index{1}, cells_at(ow));
  }

 private:
  const T* const* cells_at(Index ow) {
    std::size_t tap = 0;
    for (const T* const row : rows_) {
      for (Index kw = 0; kw < p_.w.kernel; ++kw) {
        const Index iw = shown_cell(p_.w, p_.w.cell(ow, kw));
        cells_[tap++] = iw < 0 ? padding_ : row + iw * p_.in_channels;
      }
    }
    return cells_.data();
  }

  const Conv2d& p_;
  const View<T>& x_;
  const T* padding_;
  std::vector<const T*> rows_, cells_;
  Range whole_;
};

}  // namespace

// y[c] = sum over the taps of w[tap][c] * x[tap][c]  (+ bias[c])
template <class T>
void filter_channels_last(const Conv2d& p, const Plan& plan, const View<T>& x,
                          const WeightView<T>& w, const T* bias, T* y, const PixelSteps& steps) {
  const Index channels = p.in_channels, taps = p.window();
  Scratch scratch(Scratch::bytes<T>(plan.left) + Scratch::bytes<T>(plan.columns));
  T* const weights = scratch.take<T>(plan.left);
  T* const padding = scratch.take<T>(plan.columns);
  WindowRow<T>::write_padding(p, padding);
  T* next = weights;
  for (Index kh = 0; kh < p.h.kernel; ++kh) {
    for (Index kw = 0; kw < p.w.kernel; ++kw, next += channels) {
      copy_strided(w.data + kh * w.h + kw * w.w, w.g, channels, next);
    }
  }
  const Index rows = p.batch * p.h.out, tasks = ceil_div(rows, plan.units_at_once);
  parallel_for(plan.threads, tasks, [&](Index task) {
    WindowRow<T> windows(p, x, padding);
    const Range these = piece(task, tasks, rows, 1);
    for (Index i = these.begin; i < these.end; ++i) {
      const Index n = quotient(i, p.h.out), oh = i - n * p.h.out;
      T* const row = y + n * steps.image + oh * steps.row;
      windows(n, oh, [&](Index ow, Index pixels, const T* const* cells) {
        kernels_of<T>().filter_channels({channels, taps, pixels, p.w.dilation == 1 ? p.w.kernel : 0, weights,
                                         cells, p.w.stride, bias, row + ow * steps.pixel, steps.pixel});
      });
    }
  });
}

// dw[tap][c] = sum over the pixels of dy[c] * x[tap][c], of some rows each, whose sums are added in order
template <class T>
void channels_last_grad_weight(const Conv2d& p, const Plan& plan, const T* dy, const View<T>& x, T* dw) {
  const Index channels = p.in_channels, taps = p.window(), parts = plan.unit_pieces;
  Scratch scratch(Scratch::bytes<T>(parts * plan.left) + Scratch::bytes<T>(plan.columns));
  T* const sums = scratch.take<T>(parts * plan.left);
  T* const padding = scratch.take<T>(plan.columns);
  WindowRow<T>::write_padding(p, padding);
  parallel_for(plan.threads, parts, [&](Index part) {
    constexpr Index most_pixels = GemmBlocks::depth;
    T* const of_part = sums + part * plan.left;
    std::fill_n(of_part, plan.left, T(0));
    WindowRow<T> windows(p, x, padding);
    const Range rows = piece(part, parts, p.batch * p.h.out, 1);
    for (Index i = rows.begin; i < rows.end; ++i) {
      const Index n = quotient(i, p.h.out);
      windows(n, i - n * p.h.out, [&](Index ow, Index pixels, const T* const* cells) {
        for (Index first = 0; first < pixels; first += most_pixels) {
          kernels_of<T>().dot_channels({channels, taps, std::min(most_pixels, pixels - first), p.w.stride,
                                        dy + (i * p.w.out + ow + first) * channels, cells,
                                        first * p.w.stride * channels, of_part});
        }
      });
    }
  });
  for (Index part = 1; part < parts; ++part) {
    for (Index i = 0; i < plan.left; ++i) sums[i] += sums[part * plan.left + i];
  }
  kernels_of<T>().transpose_rows(sums, channels, taps, channels, dw, taps);
}

#define INSTANTIATE(T)                                                                                  \
  template void filter_channels_last(const Conv2d&, const Plan&, const View<T>&, const WeightView<T>&,   \
                                     const T*, T*, const PixelSteps&);                                  \
  template void channels_last_grad_weight(const Conv2d&, const Plan&, const T*, const View<T>&, T*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

}  // namespace convpool
