#include "direct.hpp"

#include "numeric.hpp"
#include "scratch.hpp"
#include "threads.hpp"

namespace convpool {
namespace {

// Calls body(ow, value) for every output column, with what its tap kw reads from a row of the
// image, or from constant padding if the row is null. Padding is given like any cell, not skipped:
// an infinite weight times zero is NaN.
template <class T, class Body>
void for_each_read(const Conv2d& p, const T* row, Index stride, Index kw, Body body) {
  const T pad = element_of<T>(p.pad_value);
  const Range inside = row ? outputs_inside(p.w, kw) : Range{p.w.out, p.w.out};
  const auto padding = [&](Index begin, Index end) {
    for (Index ow = begin; ow < end; ++ow) {
      const Index iw = row ? shown_cell(p.w, p.w.cell(ow, kw)) : -1;
      body(ow, iw < 0 ? pad : row[iw * stride]);
    }
  };
  padding(0, inside.begin);
  const Index first = p.w.cell(0, kw) * stride, step = p.w.stride * stride;
  if (step == 1) {  // vectorised: 2x
    for (Index ow = inside.begin; ow < inside.end; ++ow) body(ow, row[first + ow]);
  } else {
    for (Index ow = inside.begin; ow < inside.end; ++ow) body(ow, row[first + ow * step]);
  }
  padding(inside.end, p.w.out);
}

template <class T>
const T* shown_row(const Conv2d& p, const View<T>& x, Index n, Index ic, Index oh, Index kh) {
  const Index ih = shown_cell(p.h, p.h.cell(oh, kh));
  return ih < 0 ? nullptr : x.at(n, ic, ih);
}

}  // namespace

// x (N, C_in, H, W), w (C_out, C_in/groups, kh, kw), bias (C_out) or null, y (N, C_out, oh, ow)
// y[n, oc, oh, ow] = bias[oc] + sum over ic, kh, kw of w[oc, ic, kh, kw] * x[n, ic, ih, iw]
template <class T>
void direct_forward(const Conv2d& p, int threads, const View<T>& x, const T* w, const T* bias,
                    T* y) {
  using Sum = SumOf<T>;
  const Index channels = p.group_in(), taps = p.taps(), height = p.h.out, width = p.w.out;
  // Rows of a task, about a microsecond together.
  const Index row_work = std::max<Index>(taps, 1) * std::max<Index>(width, 1);
  const Index band = std::clamp<Index>(1000 / row_work, 1, std::max<Index>(height, 1));
  const Index bands = ceil_div(height, band);
  parallel_for(threads, p.batch * p.out_channels * bands, [&](Index task) {
    const Index plane = task / bands, n = plane / p.out_channels, oc = plane % p.out_channels;
    const Index first_channel = quotient(oc, p.group_out()) * channels, first = task % bands * band;
    Scratch scratch(Scratch::bytes<Sum>(width));
    Sum* const sums = scratch.take<Sum>(width);
    for (Index oh = first; oh < std::min(first + band, height); ++oh) {
      std::fill_n(sums, width, bias ? Sum(bias[oc]) : Sum(0));
      const T* tap = w + oc * taps;
      for (Index c = 0; c < channels; ++c) {
        for (Index kh = 0; kh < p.h.kernel; ++kh) {
          const T* row = shown_row(p, x, n, first_channel + c, oh, kh);
          for (Index kw = 0; kw < p.w.kernel; ++kw) {
            const Sum weight = *tap++;
            for_each_read(p, row, x.w, kw,
                          [=](Index ow, Sum value) { sums[ow] += weight * value; });
          }
        }
      }
      std::copy_n(sums, width, y + (plane * height + oh) * width);
    }
  });
}

// dx[n, ic, ih, iw] = bias[ic] + sum over oc, kh, kw of w[oc, ic, kh, kw] * dy[n, oc, oh, ow]
// where y above read x[n, ic, ih, iw]; the bias is that of the transposed convolution.
template <class T>
void direct_grad_input(const Conv2d& p, int threads, const T* dy, const T* w, const T* bias,
                       T* dx) {
  using Sum = SumOf<T>;
  parallel_for(threads, p.batch * p.in_channels, [&](Index task) {
    const Index n = task / p.in_channels, ic = task % p.in_channels;
    const Index group = ic / p.group_in(), c = ic % p.group_in();
    Scratch scratch(Scratch::bytes<Sum>(p.in_plane()));
    Sum* plane = scratch.take<Sum>(p.in_plane());
    std::fill_n(plane, p.in_plane(), bias ? Sum(bias[ic]) : Sum(0));
    for (Index oc = group * p.group_out(); oc < (group + 1) * p.group_out(); ++oc) {
      const T* dy_plane = dy + (n * p.out_channels + oc) * p.pixels();
      const T* tap = w + oc * p.taps() + c * p.window();
      for (Index kh = 0; kh < p.h.kernel; ++kh) {
        for (Index kw = 0; kw < p.w.kernel; ++kw) {
          const Sum weight = *tap++;
          const Range inside = outputs_inside(p.w, kw);
          const Index first = p.w.cell(0, kw);
          for (Index oh = 0; oh < p.h.out; ++oh) {
            const Index ih = shown_cell(p.h, p.h.cell(oh, kh));
            if (ih < 0) continue;
            Sum* row = plane + ih * p.w.in;
            const T* dy_row = dy_plane + oh * p.w.out;
            const auto padding = [&](Index begin, Index end) {
              for (Index ow = begin; ow < end; ++ow) {
                const Index iw = shown_cell(p.w, p.w.cell(ow, kw));
                if (iw >= 0) row[iw] += weight * dy_row[ow];
              }
            };
            padding(0, inside.begin);
            for (Index ow = inside.begin; ow < inside.end; ++ow) {
              row[first + ow * p.w.stride] += weight * dy_row[ow];
            }
            padding(inside.end, p.w.out);
          }
        }
      }
    }
    std::copy_n(plane, p.in_plane(), dx + task * p.in_plane());
  });
}

// dw[oc, ic, kh, kw] = sum over n, oh, ow of dy[n, oc, oh, ow] * x[n, ic, ih, iw]
template <class T>
void direct_grad_weight(const Conv2d& p, int threads, const T* dy, const View<T>& x, T* dw) {
  using Sum = SumOf<T>;
  // Independent sums, for column ow the one of ow % lanes: a single one would have each addition
  // wait for the last.
  constexpr Index lanes = 8;
  parallel_for(threads, p.out_channels * p.group_in(), [&](Index task) {
    const Index oc = task / p.group_in(), c = task % p.group_in();
    const Index ic = oc / p.group_out() * p.group_in() + c;
    Scratch scratch(Scratch::bytes<Sum>(p.w.out));
    Sum* products = scratch.take<Sum>(p.w.out);
    T* window = dw + task * p.window();
    for (Index kh = 0; kh < p.h.kernel; ++kh) {
      for (Index kw = 0; kw < p.w.kernel; ++kw) {
        Sum sums[lanes] = {};
        for (Index n = 0; n < p.batch; ++n) {
          const T* dy_row = dy + (n * p.out_channels + oc) * p.pixels();
          for (Index oh = 0; oh < p.h.out; ++oh, dy_row += p.w.out) {
            const T* row = shown_row(p, x, n, ic, oh, kh);
            for_each_read(p, row, x.w, kw,
                          [=](Index ow, Sum value) { products[ow] = dy_row[ow] * value; });
            const Index whole = p.w.out / lanes * lanes;
            for (Index ow = 0; ow < whole; ow += lanes) {
              for (Index lane = 0; lane < lanes; ++lane) sums[lane] += products[ow + lane];
            }
            for (Index ow = whole; ow < p.w.out; ++ow) sums[ow - whole] += products[ow];
          }
        }
        Sum sum = 0;
        for (Sum lane : sums) sum += lane;
        *window++ = static_cast<T>(sum);
      }
    }
  });
}

#define INSTANTIATE(T)                                                                        \
  template void direct_forward(const Conv2d&, int, const View<T>&, const T*, const T*, T*);   \
  template void direct_grad_input(const Conv2d&, int, const T*, const T*, const T*, T*);      \
  template void direct_grad_weight(const Conv2d&, int, const T*, const View<T>&, T*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

}  // namespace convpool
