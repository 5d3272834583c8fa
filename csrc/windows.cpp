#include "windows.hpp"

namespace convpool {

std::vector<Window> windows_of(const Pool2d& p, const Axis& axis) {
  std::vector<Window> windows;
  windows.reserve(static_cast<std::size_t>(axis.out));
  const Range shown = shown_cells(p, axis), data = axis.data(), padded = axis.padded();
  for (Index o = 0; o < axis.out; ++o) {
    if (p.adaptive) {
      const Index begin = o * axis.in / axis.out;
      const Index size = ceil_div((o + 1) * axis.in, axis.out) - begin;
      windows.push_back({begin, 1, {0, size}, size});
      continue;
    }
    windows.push_back({axis.cell(o, 0), axis.dilation, taps_reading(axis, o, shown),
                       taps_reading(axis, o, p.count_include_pad ? padded : data).size()});
  }
  return windows;
}

}  // namespace convpool
