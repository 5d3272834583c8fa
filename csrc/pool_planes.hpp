// Windows joined in registers, both passes of a pool at once, where a kernel does that: small
// square windows of floats, on one instruction set.
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels.hpp"
#include "pool_rules.hpp"
#include "view.hpp"
#include "windows.hpp"

namespace convpool {

template <class T, class Rule>
class PlanePass {
 public:
  using Value = typename Rule::Value;

  PlanePass(const Pool2d& p, const Rule& rule, const View<T>& x, const std::vector<Window>& rows,
            const std::vector<Window>& columns)
      : p_(p) {
    if constexpr (std::is_same_v<T, Value> && !Rule::changes_cells) {
      if (x.w != 1 || !is_square(p) || !shows_data(p, p.h) || !shows_data(p, p.w)) return;
      if (p.h.in * p.w.in > rule.planes().most_cells) return;
      kernel_ = kernel_for(rule.planes(), p.w.kernel, p.w.stride);
      finishes_ = rule.finishes_planes(rows, columns);
      // Strips go down as many rows as the first-level cache holds: 1920 columns take a third.
      rows_at_once_ = std::max<Index>({4, p.h.kernel,
                                       (32 << 10) / Index{sizeof(T)} / (p.w.in * p.h.stride)});
      divisor_ = finishes_ ? T(1) : static_cast<T>(rule.divisor(rows[0], columns[0]));
      inverse_ = 1 / divisor_;
    }
  }

  // Whether rule.finish() has anything to do with what join() wrote.
  bool finishes() const { return finishes_; }

  // out (rows.size(), w.out), of output rows `rows`. Returns false if that is left to the two
  // passes, as it is for planes with a NaN and for sums that are not finite.
  bool join(const View<T>& image, Range rows, T* out) const {
    if constexpr (std::is_same_v<T, Value>) {
      bool done = kernel_ != nullptr;
      for (Index oh = rows.begin, count; done && oh < rows.end; oh += count) {
        count = std::min(rows_at_once_, rows.end - oh);
        done = kernel_({image.at(0, 0), image.h, p_.h.in, p_.w.in, p_.h.cell(oh, 0),
                        p_.w.cell(0, 0), p_.w.kernel, divisor_, inverse_, out, p_.w.out, count,
                        p_.w.out});
        out += count * p_.w.out;
      }
      return done;
    } else {
      return false;
    }
  }

 private:
  static bool is_square(const Pool2d& p) {
    return !p.adaptive && p.h.kernel == p.w.kernel && p.h.stride == p.w.stride &&
           p.h.dilation == 1 && p.w.dilation == 1;
  }

  static JoinPlane<T> kernel_for(const PlaneKernels<T>& kernels, Index size, Index stride) {
    JoinPlane<T> kernel = nullptr;
    if (2 <= size && size <= kernels.most_size && stride <= kernels.most_stride) {
      kernel = kernels.of[size - 2][stride - 1];
    }
    // Windows of 4 take the two passes, which are a fifth faster.
    const bool fits = stride == 1 && size > kernels.most_size && size <= kernels.most_of_any_size;
    return !kernel && fits ? kernels.of_any_size : kernel;
  }

  // Whether every window shows some of the data, all of which is there, and nothing else.
  static bool shows_data(const Pool2d& p, const Axis& axis) {
    const Range shown = shown_cells(p, axis);
    return shown.begin == 0 && shown.end == axis.in && axis.cell(0, axis.kernel - 1) >= 0 &&
           axis.cell(axis.out - 1, 0) < axis.in;
  }

  const Pool2d& p_;
  JoinPlane<T> kernel_ = nullptr;
  Index rows_at_once_ = 1;
  bool finishes_ = false;
  T divisor_ = 1, inverse_ = 1;
};

}  // namespace convpool
