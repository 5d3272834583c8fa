#include "implicit_gemm.hpp"

#include <algorithm>
#include <vector>

#include "gemm.hpp"
#include "numeric.hpp"
#include "scratch.hpp"
#include "threads.hpp"
#include "weights.hpp"

namespace convpool {

namespace {

// Rows of one output channel as filtered planes, for kernels whose matrix product would have one
// row. Twice to three times as fast as that, since each cell is loaded for several output rows.
template <class T>
class Filter {
 public:
  Filter(const Conv2d& p, const PlaneLayout& layout) : p_(p), layout_(layout) {
    for (Index kw = 0; kw < p.w.kernel; ++kw) {
      offsets_.push_back(layout.tap_offset(p, 0, kw));
    }
    // No plain sum is longer than a block of the matrix product.
    blocks_ = ceil_div(p.h.kernel, std::max<Index>(GemmBlocks::depth / p.w.kernel, 1));
  }

  // w are the taps of one output channel; y its rows, which hold the bias where `accumulate`.
  void operator()(const T* w, const T* planes, Index rows, bool accumulate, T* y) const {
    const Index down = p_.h.dilation * layout_.row;
    for (Index c = 0; c < p_.group_in(); ++c, planes += layout_.plane()) {
      for (Index block = 0; block < blocks_; ++block, accumulate = true) {
        const Range kh = piece(block, blocks_, p_.h.kernel, 1);
        kernels_of<T>().filter({kh.size(), p_.w.kernel,
                                w + c * p_.window() + kh.begin * p_.w.kernel,
                                planes + kh.begin * down, p_.h.stride * layout_.row, down,
                                offsets_.data(), y, p_.w.out, rows, p_.w.out, accumulate});
      }
    }
  }

 private:
  const Conv2d& p_;
  PlaneLayout layout_;
  std::vector<std::ptrdiff_t> offsets_;
  Index blocks_;
};

}  // namespace

// The input rows of a band of output rows are copied once, with their padding (pack.hpp draws the
// layout). Then the right operand of  y = w * cols  needs no copy: its row for a tap begins a fixed
// offset behind the first cell of the output row, and is contiguous (Dukhan, "The indirect
// convolution algorithm", 2019, has pointers for offsets). Sums run in the order of im2col, so both
// give the same bits.
template <class T>
void implicit_gemm_forward(const Conv2d& p, const Plan& plan, const View<T>& x, const T* w,
                           const T* bias, T* y) {
  if (p.pixels() == 0) return;
  const Index m = p.group_out(), k = p.taps(), bands = ceil_div(p.h.out, plan.band);
  const PlaneLayout layout = plane_layout(p, plan.band, plan.lanes);

  std::vector<std::ptrdiff_t> offsets;
  offsets.reserve(static_cast<std::size_t>(k));
  for (Index c = 0; c < p.group_in(); ++c) {
    for (Index kh = 0; kh < p.h.kernel; ++kh) {
      for (Index kw = 0; kw < p.w.kernel; ++kw) {
        offsets.push_back(c * layout.plane() + layout.tap_offset(p, kh, kw));
      }
    }
  }

  Scratch scratch(Scratch::bytes<T>(plan.shared));
  T* const shared = scratch.take<T>(plan.shared);
  T* const shared_planes = shared + plan.shared - (plan.share_columns ? plan.columns : 0);
  const Weights<T> weights(p, plan, w, shared);
  const Filter<T> filter(p, layout);

  // Output channels `channels` for a band of output rows, whose planes are there.
  const auto multiply = [&](Index g, Index n, Range rows, Range channels, const T* planes,
                            T* packed) {
    T* image = y + (n * p.out_channels + g * m) * p.pixels();
    if (plan.filters) {
      for (Index oc = channels.begin; oc < channels.end; ++oc) {
        T* const band = image + oc * p.pixels() + rows.begin * p.w.out;
        if (bias) std::fill_n(band, rows.size() * p.w.out, bias[g * m + oc]);
        filter(w + (g * m + oc) * k, planes, rows.size(), bias != nullptr, band);
      }
      return;
    }
    if (plan.packs_planes) {
      const Index pixels = rows.size() * p.w.out;
      T* const band = image + rows.begin * p.w.out;
      for (Index oc = channels.begin; bias && oc < channels.end; ++oc) {
        std::fill_n(band + oc * p.pixels(), pixels, bias[g * m + oc]);
      }
      const PlaneColumns<T> columns{planes, offsets.data(), p.w.out, p.h.stride * layout.row};
      const auto right = RightOperand<T>::of_columns(columns, packed);
      gemm(channels, m, pixels, k, weights.group(g), right, band, p.pixels(), bias != nullptr);
      return;
    }
    for (Index oh = rows.begin; oh < rows.end; ++oh) {
      T* row = image + oh * p.w.out;
      for (Index i = channels.begin; bias && i < channels.end; ++i) {
        std::fill_n(row + i * p.pixels(), p.w.out, bias[g * m + i]);
      }
      const T* cells = planes + (oh - rows.begin) * p.h.stride * layout.row;
      const auto right = RightOperand<T>::of_rows(cells, offsets.data());
      gemm(channels, m, p.w.out, k, weights.group(g), right, row, p.pixels(), bias != nullptr);
    }
  };
  const auto band_of = [&](Index task) {
    const Index first = task % bands * plan.band;
    return Range{first, std::min(first + plan.band, p.h.out)};
  };
  const auto image_of = [&](Index g, Index n) { return x.from(n, g * p.group_in()); };

  const Index tasks = p.groups * p.batch * bands;
  if (!plan.share_columns) {
    const Index steps = ceil_div(tasks, plan.images_at_once);
    parallel_for(plan.threads, steps, [&](Index step) {
      Scratch own(Scratch::bytes<T>(plan.columns) + Scratch::bytes<T>(plan.right));
      T* const planes = own.take<T>(plan.columns);
      T* const packed = own.take<T>(plan.right);
      const Range these = piece(step, steps, tasks, 1);
      for (Index task = these.begin; task < these.end; ++task) {
        const Index n = task / bands % p.batch, g = task / bands / p.batch;
        write_planes(p, layout, image_of(g, n), {0, p.group_in()}, band_of(task),
                     task > these.begin, planes);
        multiply(g, n, band_of(task), {0, m}, planes, packed);
      }
    });
    return;
  }
  for (Index task = 0; task < tasks; ++task) {
    const Index n = task / bands % p.batch, g = task / bands / p.batch;
    const Index pieces = std::min<Index>(p.group_in(), 4 * plan.threads);
    parallel_for(plan.threads, pieces, [&](Index i) {
      const Range channels = piece(i, pieces, p.group_in(), 1);
      write_planes(p, layout, image_of(g, n), channels, band_of(task), false,
                   shared_planes + channels.begin * layout.plane());
    });
    parallel_for(plan.threads, plan.channel_pieces, [&](Index i) {
      Scratch own(Scratch::bytes<T>(plan.right));
      multiply(g, n, band_of(task), piece(i, plan.channel_pieces, m, plan.mr), shared_planes,
               own.take<T>(plan.right));
    });
  }
}

#define INSTANTIATE(T)                                                                      \
  template void implicit_gemm_forward(const Conv2d&, const Plan&, const View<T>&, const T*, \
                                      const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

}  // namespace convpool
