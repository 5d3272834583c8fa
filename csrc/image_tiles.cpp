#include "image_tiles.hpp"

#include <algorithm>
#include <cassert>

#include "plan_implicit_gemm.hpp"

namespace convpool {

template <class T>
ImageProducts<T>::ImageProducts(const Conv2d& p, const Plan& plan) : p_(p) {
  suits_ = suits_image_tiles<T>(p) && !plan.gathers && !plan.filters && !plan.by_kernel_row;
}

template <class T>
void ImageProducts<T>::operator()(Range channels, Range rows, const View<T>& x,
                                  const LeftOperand<T>& weights, const T* zeros, const T* bias,
                                  T* y) const {
  assert(suits_ && x.w == 1);
  const Index mr = tile_rows<T>(p_.group_out());
  for (Index oc = channels.begin; oc < channels.end; oc += mr) {
    const Index count = std::min(mr, channels.end - oc);
    const LeftPanel<T> w = weights.panel(oc, p_.group_out(), mr, 0, p_.taps());
    assert(w.row == 1);
    kernels_of<T>().image_tiles.of[count - 1](
        {p_.group_in(), w.data, w.step, x.data, x.c, x.h, p_.h.in, p_.w.in, zeros,
         p_.h.cell(rows.begin, 0), p_.w.cell(0, 0), p_.h.stride, bias ? bias + oc : nullptr,
         y + oc * p_.pixels(), p_.pixels(), p_.w.out, rows.size(), p_.w.out});
  }
}

template class ImageProducts<float>;
template class ImageProducts<double>;
template class ImageProducts<std::uint64_t>;

}  // namespace convpool
