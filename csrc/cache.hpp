// What the first-level cache keeps. Knows distances in memory, nothing of what stands there.
#pragma once

#include <numeric>

#include "problem.hpp"

namespace convpool {

// Lines so many bytes apart that stay there, however few of its sets their distance leaves.
inline Index lines_kept(Index bytes_apart) {
  constexpr Index way_bytes = 4096, ways = 8;
  return ways * (way_bytes / std::gcd(way_bytes, bytes_apart));
}

// Room for so many elements in an odd number of lines: what is that far apart is not all in the same set.
inline Index odd_lines(Index elements, Index line) { return (ceil_div(elements, line) | 1) * line; }
template <class T>
Index odd_lines(Index elements) {
  return odd_lines(elements, 64 / sizeof(T));
}

}  // namespace convpool
