#include "filters.hpp"

#include <algorithm>
#include <cassert>

#include "dispatch.hpp"
#include "gemm.hpp"
#include "plan_implicit_gemm.hpp"

namespace convpool {

template <class T>
Filter<T>::Filter(const Conv2d& p, const Plan& plan, const PlaneLayout& layout)
    : p_(p), layout_(layout) {
  if (!plan.filters) return;
  for (Index kw = 0; kw < p.w.kernel; ++kw) offsets_.push_back(layout.tap_offset(p, 0, kw));
  // No plain sum is longer than two blocks of the matrix product.
  const Index rows = std::max<Index>(2 * GemmBlocks::depth / p.w.kernel, 1);
  blocks_ = ceil_div(p.h.kernel, rows);
  // Sums that go down a band of a small plane take as many output rows as a row of cells meets.
  const Index last_band = p.h.out - (ceil_div(p.h.out, plan.band) - 1) * plan.band;
  const KernelsFor<T>& kernels = kernels_of<T>();
  // Where results are the same in another way, it may depend on bands, and so on the number of threads.
  const SquareFilters& square = kernels.square_filters;
  const bool suits_rows = square.any_rows || filters_along_rows<T>(p) ||
                          last_band >= ceil_div(p.h.kernel, p.h.stride);
  const bool suits_stride = p.h.stride == 1 || (p.w.out <= square.most_strided_columns &&
                                                (square.adds_strided || p.group_in() == 1));
  const bool suits_square = suits_images(p, 5, 2) || suits_images(p, 7, 2);
  reads_images_ = kernels.filter_image &&
                  (suits_images(p, 3, 2) || (suits_square && suits_rows && suits_stride));
}

template <class T>
void Filter<T>::operator()(const T* w, const T* planes, Index rows, const T* bias, T* y) const {
  bool accumulate = false;
  const Index down = p_.h.dilation * layout_.row;
  for (Index c = 0; c < p_.group_in(); ++c, planes += layout_.plane) {
    for (Index block = 0; block < blocks_; ++block, bias = nullptr, accumulate = true) {
      const Range kh = piece(block, blocks_, p_.h.kernel, 1);
      kernels_of<T>().filter({kh.size(), p_.w.kernel, w + c * p_.window() + kh.begin * p_.w.kernel,
                              planes + kh.begin * down, p_.h.stride * layout_.row, down,
                              offsets_.data(), bias, y, p_.w.out, rows, p_.w.out, accumulate});
    }
  }
}

template <class T>
void Filter<T>::filter_images(const T* w, Index w_step, const View<T>& x, Index x_step,
                              T* memory, Index count, Range rows, const T* bias,
                              Index bias_step, T* y, Index y_step) const {
  assert(reads(x) && (count == 1 || p_.group_in() == 1));
  T* const zeros = memory + image_copy_cells;
  std::fill_n(zeros, p_.w.in, T(0));
  for (Index c = 0; c < p_.group_in(); ++c, bias = nullptr) {
    kernels_of<T>().filter_image({p_.h.kernel, w + c * p_.window(), x.at(0, c), x.h, p_.h.in,
                                  p_.w.in, zeros, memory, p_.h.cell(rows.begin, 0),
                                  p_.w.cell(0, 0), p_.h.stride, bias, y, p_.w.out, rows.size(),
                                  p_.w.out, c > 0, count, w_step, x_step, bias_step, y_step});
  }
}

template class Filter<float>;
template class Filter<double>;
template class Filter<std::uint64_t>;

}  // namespace convpool
