#include "conv2d.hpp"

#include <type_traits>
#include <vector>

#include "direct.hpp"
#include "dispatch.hpp"
#include "gemm.hpp"
#include "implicit_gemm.hpp"
#include "input_gradient.hpp"
#include "layouts.hpp"
#include "numeric.hpp"
#include "plan_conv2d.hpp"
#include "plan_im2col.hpp"
#include "scratch.hpp"
#include "threads.hpp"
#include "weight_gradient.hpp"
#include "weights.hpp"
#include "winograd.hpp"

namespace convpool {
namespace {

// The three matrix products of the im2col path, for one group of channels and a block of pixels:
//
//   forward      y    (group_out x pixels)  =  w   (group_out x taps)    *  cols  (taps x pixels)
//   grad_input   cols (taps x pixels)       =  w'  (taps x group_out)    *  dy    (group_out x pixels)
//   grad_weight  dw   (group_out x taps)    =  dy  (group_out x pixels)  *  cols' (pixels x taps)

// What one task of a parallel loop has for itself.
template <class T>
struct TaskScratch {
  explicit TaskScratch(const Plan& plan)
      : scratch(Scratch::bytes<T>(plan.left) + Scratch::bytes<T>(columns_of_task(plan)) +
                Scratch::bytes<T>(plan.right)),
        left(scratch.take<T>(plan.left)),
        columns(scratch.take<T>(columns_of_task(plan))),
        right(scratch.take<T>(plan.right)) {}

  static Index columns_of_task(const Plan& plan) { return plan.share_columns ? 0 : plan.columns; }

  Scratch scratch;
  T *left, *columns, *right;
};

Range block_of(const Conv2d& p, const Plan& plan, Index block) {
  const Index first = block * plan.pixel_block;
  return {first, std::min(first + plan.pixel_block, p.pixels())};
}

Index number_of_blocks(const Conv2d& p, const Plan& plan) {
  return p.pixels() == 0 ? 0 : ceil_div(p.pixels(), plan.pixel_block);
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

// Calls compute(first, count) for images that follow each other among these.
template <class Compute>
void for_each_run(const std::vector<Index>& images, const Compute& compute) {
  for (std::size_t i = 0, end; i < images.size(); i = end) {
    end = i + 1;
    while (end < images.size() && images[end] == images[end - 1] + 1) ++end;
    compute(images[i], static_cast<Index>(end - i));
  }
}

// The columns of a block of pixels and a range of channels, with zeros up to a whole vector behind
// each row, since the kernel reads written columns where they are.
template <class T>
void write_padded_columns(const Conv2d& p, const Plan& plan, const View<T>& x, Range channels,
                          Range pixels, T* cols) {
  write_columns(p, x, channels, pixels, cols, plan.columns_ld);
  const Index end = round_up(pixels.size(), plan.nr);
  for (Index k = 0; k < channels.size() * p.window(); ++k) {
    T* row = cols + k * plan.columns_ld;
    std::fill(row + pixels.size(), row + end, T(0));
  }
}

// Columns that were written, or the image itself where they are the same.
template <class T>
Matrix<T> columns_of(const Conv2d& p, const Plan& plan, const View<T>& x, Range pixels,
                     const T* cols) {
  if (columns_are_input(p)) return {x.data + pixels.begin * x.w, x.c, x.w};
  return {cols, plan.columns_ld, 1};
}

template <class T>
void im2col_forward(const Conv2d& p, const Plan& plan, const View<T>& x, const WeightView<T>& w,
                    const T* bias, T* y) {
  if (p.batch == 0 || p.out_channels == 0) return;
  const Index m = p.group_out(), k = p.taps(), blocks = number_of_blocks(p, plan);
  const bool in_place = columns_are_input(p);
  Scratch scratch(Scratch::bytes<T>(plan.shared));
  T* const shared = scratch.take<T>(plan.shared);
  T* const shared_columns = shared + plan.shared - (plan.share_columns ? plan.columns : 0);
  const Weights<T> weights(p, plan, w, shared);

  // Written columns are read in place; an image has no slack behind it, and is packed.
  std::vector<std::ptrdiff_t> row_offsets(in_place ? 0 : static_cast<std::size_t>(k));
  for (std::size_t i = 0; i < row_offsets.size(); ++i) {
    row_offsets[i] = static_cast<Index>(i) * plan.columns_ld;
  }

  // Rows of output channels for a block of pixels, whose columns are there.
  const auto multiply = [&](Index g, Index n, Range pixels, Range rows, const T* cols, T* packed) {
    T* block = output_of(p, n, g, y) + pixels.begin;
    const View<T> image = x.from(n, g * p.group_in());
    const Matrix<T> columns = columns_of(p, plan, image, pixels, cols);
    const auto right = in_place ? RightOperand<T>::of_matrix(columns, packed)
                                : RightOperand<T>::of_rows(columns.data, row_offsets.data());
    gemm(rows, m, pixels.size(), k, weights.matrix(g), right, bias ? bias + g * m : nullptr, block,
         p.pixels(), false);
  };

  if (!plan.share_columns) {
    parallel_for(plan.threads, p.groups * p.batch * blocks, [&](Index task) {
      const Index n = task / blocks % p.batch, g = task / blocks / p.batch;
      const Range pixels = block_of(p, plan, task % blocks);
      const TaskScratch<T> own(plan);
      if (!in_place) {
        write_padded_columns(p, plan, x.from(n, g * p.group_in()), {0, p.group_in()}, pixels,
                             own.columns);
      }
      multiply(g, n, pixels, {0, m}, own.columns, own.right);
    });
    return;
  }
  for (Index task = 0; task < p.groups * p.batch * blocks; ++task) {
    const Index n = task / blocks % p.batch, g = task / blocks / p.batch;
    const Range pixels = block_of(p, plan, task % blocks);
    const Index pieces = in_place ? 0 : std::min<Index>(p.group_in(), 4 * plan.threads);
    parallel_for(plan.threads, pieces, [&](Index i) {
      const Range channels = piece(i, pieces, p.group_in(), 1);
      write_padded_columns(p, plan, x.from(n, g * p.group_in()), channels, pixels,
                           shared_columns + channels.begin * p.window() * plan.columns_ld);
    });
    parallel_for(plan.threads, plan.channel_pieces, [&](Index i) {
      const TaskScratch<T> own(plan);
      const Range channels = piece(i, plan.channel_pieces, m, plan.weight_panels.width);
      multiply(g, n, pixels, channels, shared_columns, own.right);
    });
  }
}

template <class T>
void im2col_grad_input(const Conv2d& p, const Plan& plan, const T* dy, const T* w, const T* bias,
                       T* dx) {
  const Index taps = p.taps(), k = p.group_out(), pieces = plan.channel_pieces;
  const Index blocks = number_of_blocks(p, plan);
  const T* const no_bias = nullptr;
  parallel_for(plan.threads, p.groups * pieces * plan.image_pieces, [&](Index task) {
    const Index g = task / plan.image_pieces / pieces;
    const Range channels = piece(task / plan.image_pieces % pieces, pieces, p.group_in(), 1);
    const Range images = piece(task % plan.image_pieces, plan.image_pieces, p.batch, 1);
    const Index m = channels.size() * p.window();
    const TaskScratch<T> scratch(plan);
    const Matrix<T> weights_transposed{w + g * k * taps + channels.begin * p.window(), 1, taps};
    const LeftOperand<T> left = pack_left(weights_transposed, m, k, scratch.left);
    for (Index n = images.begin; n < images.end; ++n) {
      T* const image = input_of(p, n, g, dx);
      for (Index c = channels.begin; c < channels.end; ++c) {
        const T start = bias ? bias[g * p.group_in() + c] : T(0);
        std::fill_n(image + c * p.in_plane(), p.in_plane(), start);
      }
      for (Index block = 0; block < blocks; ++block) {
        const Range pixels = block_of(p, plan, block);
        const Matrix<T> dy_block{output_of(p, n, g, dy) + pixels.begin, p.pixels(), 1};
        const auto right = RightOperand<T>::of_matrix(dy_block, scratch.right);
        gemm({0, m}, m, pixels.size(), k, left, right, no_bias, scratch.columns, plan.columns_ld,
             false);
        add_columns(p, scratch.columns, plan.columns_ld, channels, pixels, image);
      }
    }
  });
}

template <class T>
void im2col_grad_weight(const Conv2d& p, const Plan& plan, const T* dy, const View<T>& x, T* dw) {
  const Index m = p.group_out(), taps = p.taps(), pieces = plan.channel_pieces;
  const Index blocks = number_of_blocks(p, plan);
  const T* const no_bias = nullptr;
  parallel_for(plan.threads, p.groups * pieces, [&](Index task) {
    const Index g = task / pieces;
    const Range channels = piece(task % pieces, pieces, p.group_in(), 1);
    const Index n_taps = channels.size() * p.window();
    T* const dw_piece = dw + g * m * taps + channels.begin * p.window();
    for (Index i = 0; i < m; ++i) std::fill_n(dw_piece + i * taps, n_taps, T(0));
    const TaskScratch<T> scratch(plan);
    for (Index n = 0; n < p.batch; ++n) {
      const View<T> image = x.from(n, g * p.group_in() + channels.begin);
      for (Index block = 0; block < blocks; ++block) {
        const Range pixels = block_of(p, plan, block);
        const Matrix<T> dy_block{output_of(p, n, g, dy) + pixels.begin, p.pixels(), 1};
        const LeftOperand<T> left = pack_left(dy_block, m, pixels.size(), scratch.left);
        if (!columns_are_input(p)) {
          write_columns(p, image, {0, channels.size()}, pixels, scratch.columns, plan.columns_ld);
        }
        const Matrix<T> cols = columns_of(p, plan, image, pixels, scratch.columns);
        const auto right = RightOperand<T>::of_matrix(cols.transposed(), scratch.right);
        gemm({0, m}, m, n_taps, pixels.size(), left, right, no_bias, dw_piece, taps, true);
      }
    }
  });
}

}  // namespace

template <class T>
void conv2d_forward(const Conv2d& p, const Plan& plan, const View<T>& x, const T* w, const T* bias,
                    T* y) {
  const auto weights = WeightView<T>::contiguous(p, w);
  switch (plan.algorithm) {
    case Algorithm::direct: return direct_forward(p, plan.threads, x, w, bias, y);
    case Algorithm::im2col: return im2col_forward(p, plan, x, weights, bias, y);
    case Algorithm::implicit_gemm: return implicit_gemm_forward(p, plan, x, weights, bias, y);
    case Algorithm::winograd:
      if constexpr (std::is_floating_point_v<T>) {
        for_each_run(winograd_forward(p, plan, x, weights, bias, y), [&](Index n, Index count) {
          const Conv2d images = without_tiles(p, count);
          const Plan other = plan_conv2d<T>(images, Operation::forward, "auto", plan.threads);
          conv2d_forward(images, other, x.from(n, 0), w, bias, output_of(p, n, 0, y));
        });
      }
      return;
    case Algorithm::fft: return;  // bindings_conv.cpp calls _fft.py in the place of this function
  }
}

template <class T>
void conv2d_grad_input(const Conv2d& p, const Plan& plan, const T* dy, const T* w, const T* bias,
                       T* dx) {
  if (plan.algorithm == Algorithm::direct) {
    return direct_grad_input(p, plan.threads, dy, w, bias, dx);
  }
  if constexpr (std::is_floating_point_v<T>) {
    if (plan.algorithm == Algorithm::winograd) {
      return for_each_run(winograd_grad_input(p, plan, dy, w, bias, dx), [&](Index n, Index count) {
        const Conv2d images = without_tiles(p, count);
        const Plan other = plan_conv2d<T>(images, Operation::grad_input, "auto", plan.threads);
        conv2d_grad_input(images, other, output_of(p, n, 0, dy), w, bias, input_of(p, n, 0, dx));
      });
    }
  }
  if (columns_are_input(p)) {
    const Conv2d transposed = transposed_1x1(p);
    const View<T> dy_view = output_view(p, plan, dy);
    const WeightView<T> weights{w, p.group_out() * p.taps(), 1, p.taps(), 1, 1};
    if (plan.algorithm == Algorithm::im2col) {
      return im2col_forward(transposed, plan, dy_view, weights, bias, dx);
    }
    return implicit_gemm_forward(transposed, plan, dy_view, weights, bias, dx);
  }
  if (plan.algorithm == Algorithm::im2col) return im2col_grad_input(p, plan, dy, w, bias, dx);
  // An infinite weight must not meet the zeros that implicit GEMM puts around dy. It would show in
  // every result that it takes part in, so the smaller of the two arrays tells whether to look at the weights.
  const Index n_weights = p.out_channels * p.taps(), n_results = p.batch * p.in_channels * p.in_plane();
  const bool ask_weights = n_weights <= n_results;
  bool is_finite = !ask_weights || all_finite(w, n_weights);
  if (is_finite) implicit_gemm_grad_input(p, plan, dy, w, bias, dx);
  if (!ask_weights) is_finite = all_finite(dx, n_results) || all_finite(w, n_weights);
  if (is_finite) return;
  const Plan other = plan_conv2d<T>(p, Operation::grad_input, "im2col", plan.threads);
  if (!plan.reads_channels_last) return im2col_grad_input(p, other, dy, w, bias, dx);
  const Index n_dy = p.batch * p.out_channels * p.pixels();
  Scratch scratch(Scratch::bytes<T>(n_dy) + Scratch::bytes<T>(n_results));
  T *const dy_first = scratch.take<T>(n_dy), *const dx_first = scratch.take<T>(n_results);
  transpose_images(plan.threads, p.batch, p.pixels(), p.out_channels, dy, dy_first);
  im2col_grad_input(p, other, dy_first, w, bias, dx_first);
  transpose_images(plan.threads, p.batch, p.in_channels, p.in_plane(), dx_first, dx);
}

template <class T>
void conv2d_grad_weight(const Conv2d& p, const Plan& plan, const T* dy, const View<T>& x, T* dw) {
  switch (plan.algorithm) {
    case Algorithm::direct: return direct_grad_weight(p, plan.threads, dy, x, dw);
    case Algorithm::im2col: return im2col_grad_weight(p, plan, dy, x, dw);
    case Algorithm::implicit_gemm: return implicit_gemm_grad_weight(p, plan, dy, x, dw);
    case Algorithm::winograd: case Algorithm::fft: return;  // refused by the plan
  }
}

template <class T>
void conv2d_grad_bias(int threads, Index batch, Index channels, Index pixels, const T* dy, T* db) {
  parallel_for(threads, channels, [&](Index c) {
    SumOf<T> sum = 0;
    for (Index n = 0; n < batch; ++n) {
      const T* plane = dy + (n * channels + c) * pixels;
      for (Index i = 0; i < pixels; ++i) sum += plane[i];
    }
    db[c] = static_cast<T>(sum);
  });
}

template <class T>
void im2col(const Conv2d& p, int threads, const View<T>& x, T* cols) {
  parallel_for(threads, p.batch * p.in_channels, [&](Index task) {
    const Index n = task / p.in_channels, c = task % p.in_channels;
    write_columns(p, x.from(n, 0), {c, c + 1}, Range{0, p.pixels()},
                  cols + task * p.window() * p.pixels(), p.pixels());
  });
}

template <class T>
void col2im(const Conv2d& p, int threads, const T* cols, T* x) {
  parallel_for(threads, p.batch * p.in_channels, [&](Index task) {
    const Index n = task / p.in_channels, c = task % p.in_channels;
    std::fill_n(x + task * p.in_plane(), p.in_plane(), T(0));
    add_columns(p, cols + task * p.window() * p.pixels(), p.pixels(), {c, c + 1},
                Range{0, p.pixels()}, input_of(p, n, 0, x));
  });
}

#define INSTANTIATE(T)                                                                           \
  template void conv2d_forward(const Conv2d&, const Plan&, const View<T>&, const T*, const T*,    \
                               T*);                                                               \
  template void conv2d_grad_input(const Conv2d&, const Plan&, const T*, const T*, const T*, T*);  \
  template void conv2d_grad_weight(const Conv2d&, const Plan&, const T*, const View<T>&, T*);     \
  template void conv2d_grad_bias(int, Index, Index, Index, const T*, T*);                         \
  template void col2im(const Conv2d&, int, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

#define INSTANTIATE(T) template void im2col(const Conv2d&, int, const View<T>&, T*);
FOR_EACH_TYPE(INSTANTIATE)
#undef INSTANTIATE

}  // namespace convpool
