#include "direct.hpp"

#include "scratch.hpp"

namespace convpool {
namespace {

bool inside(const Axis& axis, Index cell) { return cell >= 0 && cell < axis.in; }

// Calls body(ic, ih, kw, weight) for every tap of row oh of output channel oc; ih may lie in the
// padding.
template <class T, class Body>
void for_each_tap(const Conv2d& p, Index oc, Index oh, const T* w, Body body) {
  const Index first_channel = oc / p.group_out() * p.group_in();
  const T* weight = w + oc * p.taps();
  for (Index c = 0; c < p.group_in(); ++c) {
    for (Index kh = 0; kh < p.h.kernel; ++kh) {
      for (Index kw = 0; kw < p.w.kernel; ++kw) {
        body(first_channel + c, p.h.cell(oh, kh), kw, *weight++);
      }
    }
  }
}

}  // namespace

// x (N, C_in, H, W), w (C_out, C_in/groups, kh, kw), bias (C_out) or null, y (N, C_out, oh, ow)
// y[n, oc, oh, ow] = bias[oc] + sum over ic, kh, kw of w[oc, ic, kh, kw] * x[n, ic, ih, iw]
template <class T>
void direct_forward(const Conv2d& p, const T* x, const T* w, const T* bias, T* y) {
  Scratch scratch(Scratch::bytes<double>(p.w.out));
  double* row = scratch.take<double>(p.w.out);
  for (Index n = 0; n < p.batch; ++n) {
    const T* image = x + n * p.in_channels * p.in_plane();
    for (Index oc = 0; oc < p.out_channels; ++oc) {
      for (Index oh = 0; oh < p.h.out; ++oh, y += p.w.out) {
        std::fill_n(row, p.w.out, bias ? bias[oc] : 0);
        for_each_tap(p, oc, oh, w, [&](Index ic, Index ih, Index kw, double weight) {
          const Range columns = inside(p.h, ih) ? outputs_inside(p.w, kw) : Range{0, 0};
          const Index first_cell = ic * p.in_plane() + ih * p.w.in + p.w.cell(0, kw);
          // Padding is multiplied, not skipped: an infinite weight times zero is NaN.
          const double padded = weight * p.pad_value;
          for (Index ow = 0; ow < columns.begin; ++ow) row[ow] += padded;
          for (Index ow = columns.begin; ow < columns.end; ++ow) {
            row[ow] += weight * image[first_cell + ow * p.w.stride];
          }
          for (Index ow = columns.end; ow < p.w.out; ++ow) row[ow] += padded;
        });
        std::copy_n(row, p.w.out, y);
      }
    }
  }
}

// dx[n, ic, ih, iw] = bias[ic] + sum over oc, kh, kw of w[oc, ic, kh, kw] * dy[n, oc, oh, ow]
// where y above read x[n, ic, ih, iw]; the bias is that of the transposed convolution.
template <class T>
void direct_grad_input(const Conv2d& p, const T* dy, const T* w, const T* bias, T* dx) {
  Scratch scratch(Scratch::bytes<double>(p.in_plane()));
  double* plane = scratch.take<double>(p.in_plane());
  for (Index n = 0; n < p.batch; ++n) {
    for (Index ic = 0; ic < p.in_channels; ++ic, dx += p.in_plane()) {
      std::fill_n(plane, p.in_plane(), bias ? bias[ic] : 0);
      const Index group = ic / p.group_in(), c = ic % p.group_in();
      for (Index oc = group * p.group_out(); oc < (group + 1) * p.group_out(); ++oc) {
        const T* dy_plane = dy + (n * p.out_channels + oc) * p.pixels();
        const T* weight = w + oc * p.taps() + c * p.window();
        for (Index kh = 0; kh < p.h.kernel; ++kh) {
          const Range rows = outputs_inside(p.h, kh);
          for (Index kw = 0; kw < p.w.kernel; ++kw, ++weight) {
            const Range columns = outputs_inside(p.w, kw);
            for (Index oh = rows.begin; oh < rows.end; ++oh) {
              const Index first_cell = p.h.cell(oh, kh) * p.w.in + p.w.cell(0, kw);
              const T* dy_row = dy_plane + oh * p.w.out;
              for (Index ow = columns.begin; ow < columns.end; ++ow) {
                plane[first_cell + ow * p.w.stride] += static_cast<double>(*weight) * dy_row[ow];
              }
            }
          }
        }
      }
      std::copy_n(plane, p.in_plane(), dx);
    }
  }
}

// dw[oc, ic, kh, kw] = sum over n, oh, ow of dy[n, oc, oh, ow] * x[n, ic, ih, iw]
template <class T>
void direct_grad_weight(const Conv2d& p, const T* dy, const T* x, T* dw) {
  for (Index oc = 0; oc < p.out_channels; ++oc) {
    const Index first_channel = oc / p.group_out() * p.group_in();
    for (Index c = 0; c < p.group_in(); ++c) {
      for (Index kh = 0; kh < p.h.kernel; ++kh) {
        for (Index kw = 0; kw < p.w.kernel; ++kw) {
          const Range columns = outputs_inside(p.w, kw);
          double sum = 0;
          for (Index n = 0; n < p.batch; ++n) {
            const T* plane = x + (n * p.in_channels + first_channel + c) * p.in_plane();
            const T* dy_plane = dy + (n * p.out_channels + oc) * p.pixels();
            for (Index oh = 0; oh < p.h.out; ++oh) {
              const Index ih = p.h.cell(oh, kh);
              const Range read = inside(p.h, ih) ? columns : Range{0, 0};
              const Index first_cell = ih * p.w.in + p.w.cell(0, kw);
              const T* dy_row = dy_plane + oh * p.w.out;
              for (Index ow = 0; ow < read.begin; ++ow) sum += dy_row[ow] * p.pad_value;
              for (Index ow = read.begin; ow < read.end; ++ow) {
                sum += static_cast<double>(dy_row[ow]) * plane[first_cell + ow * p.w.stride];
              }
              for (Index ow = read.end; ow < p.w.out; ++ow) sum += dy_row[ow] * p.pad_value;
            }
          }
          *dw++ = static_cast<T>(sum);
        }
      }
    }
  }
}

#define INSTANTIATE(T)                                                                  \
  template void direct_forward(const Conv2d&, const T*, const T*, const T*, T*);        \
  template void direct_grad_input(const Conv2d&, const T*, const T*, const T*, T*);     \
  template void direct_grad_weight(const Conv2d&, const T*, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace convpool
