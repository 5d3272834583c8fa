#include "conv2d.hpp"

#include "direct.hpp"
#include "gemm.hpp"
#include "numeric.hpp"
#include "scratch.hpp"

namespace convpool {
namespace {

// The three matrix products of the im2col path, for one group of channels and a block of pixels:
//
//   forward      y    (group_out x pixels)  =  w   (group_out x taps)    *  cols  (taps x pixels)
//   grad_input   cols (taps x pixels)       =  w'  (taps x group_out)    *  dy    (group_out x pixels)
//   grad_weight  dw   (group_out x taps)    =  dy  (group_out x pixels)  *  cols' (pixels x taps)
template <class T>
struct Operands {
  explicit Operands(const Plan& plan)
      : scratch(plan.scratch_bytes),
        left(scratch.take<T>(plan.left)),
        columns(scratch.take<T>(plan.columns)),
        right(scratch.take<T>(plan.right)) {}
  Scratch scratch;
  T *left, *columns, *right;
};

// Calls body(n, pixels) for each block of output pixels of each image.
template <class Body>
void for_each_block(const Conv2d& p, const Plan& plan, Body body) {
  for (Index n = 0; n < p.batch; ++n) {
    for (Index first = 0; first < p.pixels(); first += plan.pixel_block) {
      body(n, Range{first, std::min(first + plan.pixel_block, p.pixels())});
    }
  }
}

// Where group g of image n begins.
template <class T>
T* input_of(const Conv2d& p, Index n, Index g, T* x) {
  return x + (n * p.in_channels + g * p.group_in()) * p.in_plane();
}
template <class T>
T* output_of(const Conv2d& p, Index n, Index g, T* y) {
  return y + (n * p.out_channels + g * p.group_out()) * p.pixels();
}

// The columns of a block of pixels: copied, or the image itself where they are the same.
template <class T>
Matrix<T> columns_of(const Conv2d& p, const Plan& plan, const View<T>& x, Range pixels,
                     T* scratch) {
  if (columns_are_input(p)) return {x.data + pixels.begin * x.w, x.c, x.w};
  write_columns(p, x, pixels, scratch, plan.columns_ld);
  for (Index k = 0, tail = round_up(pixels.size(), plan.nr); k < p.taps(); ++k) {
    std::fill(scratch + k * plan.columns_ld + pixels.size(), scratch + k * plan.columns_ld + tail,
              T(0));
  }
  return {scratch, plan.columns_ld, 1};
}

template <class T>
void im2col_forward(const Conv2d& p, const Plan& plan, const View<T>& x, const T* w, const T* bias,
                    T* y) {
  const Index m = p.group_out(), k = p.taps();
  const Operands<T> scratch(plan);
  for (Index g = 0; g < p.groups; ++g) {
    const Matrix<T> weights{w + g * m * k, k, 1};
    const LeftOperand<T> left = plan.left_in_place
                                    ? LeftOperand<T>{weights, nullptr, true}
                                    : pack_left(weights, m, k, scratch.left);
    for_each_block(p, plan, [&](Index n, Range pixels) {
      T* block = output_of(p, n, g, y) + pixels.begin;
      for (Index i = 0; bias && i < m; ++i) {
        std::fill_n(block + i * p.pixels(), pixels.size(), bias[g * m + i]);
      }
      const Matrix<T> cols = columns_of(p, plan, x.from(n, g * p.group_in()), pixels, scratch.columns);
      // The kernel reads written columns where they are; an image has no slack behind it.
      const RightOperand<T> right{cols, scratch.right, !columns_are_input(p)};
      gemm(m, pixels.size(), k, left, right, block, p.pixels(), bias != nullptr);
    });
  }
}

template <class T>
void im2col_grad_input(const Conv2d& p, const Plan& plan, const T* dy, const T* w, const T* bias,
                       T* dx) {
  const Index m = p.taps(), k = p.group_out();
  const Operands<T> scratch(plan);
  for (Index plane = 0; plane < p.batch * p.in_channels; ++plane) {
    std::fill_n(dx + plane * p.in_plane(), p.in_plane(), bias ? bias[plane % p.in_channels] : T(0));
  }
  for (Index g = 0; g < p.groups; ++g) {
    const Matrix<T> weights_transposed{w + g * k * m, 1, m};
    const LeftOperand<T> left = pack_left(weights_transposed, m, k, scratch.left);
    for_each_block(p, plan, [&](Index n, Range pixels) {
      const Matrix<T> dy_block{output_of(p, n, g, dy) + pixels.begin, p.pixels(), 1};
      const RightOperand<T> right{dy_block, scratch.right, false};
      T* image = input_of(p, n, g, dx);
      if (columns_are_input(p)) {
        gemm(m, pixels.size(), k, left, right, image + pixels.begin, p.in_plane(), true);
      } else {
        gemm(m, pixels.size(), k, left, right, scratch.columns, plan.columns_ld, false);
        add_columns(p, scratch.columns, plan.columns_ld, pixels, image);
      }
    });
  }
}

template <class T>
void im2col_grad_weight(const Conv2d& p, const Plan& plan, const T* dy, const View<T>& x,
                        T* dw) {
  const Index m = p.group_out(), taps = p.taps();
  const Operands<T> scratch(plan);
  std::fill_n(dw, p.out_channels * taps, T(0));
  for (Index g = 0; g < p.groups; ++g) {
    for_each_block(p, plan, [&](Index n, Range pixels) {
      const Matrix<T> dy_block{output_of(p, n, g, dy) + pixels.begin, p.pixels(), 1};
      const LeftOperand<T> left = pack_left(dy_block, m, pixels.size(), scratch.left);
      const Matrix<T> cols = columns_of(p, plan, x.from(n, g * p.group_in()), pixels, scratch.columns);
      const RightOperand<T> right{cols.transposed(), scratch.right, false};
      gemm(m, taps, pixels.size(), left, right, dw + g * m * taps, taps, true);
    });
  }
}

}  // namespace

template <class T>
void conv2d_forward(const Conv2d& p, const Plan& plan, const View<T>& x, const T* w, const T* bias,
                    T* y) {
  const bool direct = plan.algorithm == Algorithm::direct;
  direct ? direct_forward(p, x, w, bias, y) : im2col_forward(p, plan, x, w, bias, y);
}

template <class T>
void conv2d_grad_input(const Conv2d& p, const Plan& plan, const T* dy, const T* w, const T* bias,
                       T* dx) {
  const bool direct = plan.algorithm == Algorithm::direct;
  direct ? direct_grad_input(p, dy, w, bias, dx) : im2col_grad_input(p, plan, dy, w, bias, dx);
}

template <class T>
void conv2d_grad_weight(const Conv2d& p, const Plan& plan, const T* dy, const View<T>& x,
                        T* dw) {
  const bool direct = plan.algorithm == Algorithm::direct;
  direct ? direct_grad_weight(p, dy, x, dw) : im2col_grad_weight(p, plan, dy, x, dw);
}

template <class T>
void conv2d_grad_bias(Index batch, Index channels, Index pixels, const T* dy, T* db) {
  for (Index c = 0; c < channels; ++c) {
    SumOf<T> sum = 0;
    for (Index n = 0; n < batch; ++n) {
      const T* plane = dy + (n * channels + c) * pixels;
      for (Index i = 0; i < pixels; ++i) sum += plane[i];
    }
    db[c] = static_cast<T>(sum);
  }
}

template <class T>
void im2col(const Conv2d& p, const View<T>& x, T* cols) {
  for (Index n = 0; n < p.batch; ++n) {
    write_columns(p, x.from(n, 0), Range{0, p.pixels()}, cols, p.pixels());
    cols += p.taps() * p.pixels();
  }
}

template <class T>
void col2im(const Conv2d& p, const T* cols, T* x) {
  std::fill_n(x, p.batch * p.in_channels * p.in_plane(), T(0));
  for (Index n = 0; n < p.batch; ++n) {
    add_columns(p, cols, p.pixels(), Range{0, p.pixels()}, input_of(p, n, 0, x));
    cols += p.taps() * p.pixels();
  }
}

#define INSTANTIATE(T)                                                                           \
  template void conv2d_forward(const Conv2d&, const Plan&, const View<T>&, const T*, const T*,    \
                               T*);                                                               \
  template void conv2d_grad_input(const Conv2d&, const Plan&, const T*, const T*, const T*, T*);  \
  template void conv2d_grad_weight(const Conv2d&, const Plan&, const T*, const View<T>&, T*);     \
  template void conv2d_grad_bias(Index, Index, Index, const T*, T*);                              \
  template void col2im(const Conv2d&, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

#define INSTANTIATE(T) template void im2col(const Conv2d&, const View<T>&, T*);
FOR_EACH_TYPE(INSTANTIATE)
#undef INSTANTIATE

}  // namespace convpool
