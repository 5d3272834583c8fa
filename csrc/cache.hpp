// What the first-level cache keeps. Knows distances in memory, nothing of what stands there.
#pragma once

#include <numeric>

#include "shape.hpp"

namespace convpool {

// Lines so many bytes apart that stay there, however few of its sets their distance leaves.
inline Index lines_kept(Index bytes_apart) {
  constexpr Index way_bytes = 4096, ways = 8;
  return ways * (way_bytes / std::gcd(way_bytes, bytes_apart));
}

}  // namespace convpool
