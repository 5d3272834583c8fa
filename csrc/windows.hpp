// The windows of a pool along one axis.
#pragma once

#include <vector>

#include "problem.hpp"

namespace convpool {

// Cells first, first + step, ... of the taps.
struct Window {
  Index first, step;
  Range taps;     // that show data
  Index counted;  // that count in a mean

  Index cell(Index tap) const { return first + tap * step; }
};

// Cells with something to show. Padding of the constant mode holds no data; what the other modes
// show does, unless padding shall not count. The overhang of ceil_mode never counts.
inline Range shown_cells(const Pool2d& p, const Axis& axis) {
  const bool shows_padding = p.count_include_pad && axis.pad_mode != PadMode::constant;
  return shows_padding ? axis.padded() : axis.data();
}

// Whether there is one window, of all cells.
inline bool sees_all(const Pool2d& p, const Axis& axis) {
  const bool fits = axis.cell(0, 0) == 0 && axis.kernel == axis.in && axis.dilation == 1;
  return axis.out == 1 && (p.adaptive || (fits && axis.data().end == axis.in));
}

std::vector<Window> windows_of(const Pool2d& p, const Axis& axis);

inline double divisor_of(const Pool2d& p, const Window& row, const Window& column) {
  return static_cast<double>(p.divisor ? p.divisor : row.counted * column.counted);
}

}  // namespace convpool
