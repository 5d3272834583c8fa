#include <algorithm>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "dispatch.hpp"
#include "numeric.hpp"
#include "pool2d.hpp"
#include "threads.hpp"

namespace convpool {
namespace {

[[noreturn]] void refuse_indices(Index count, const Index* indices, Index plane_size) {
  const Index* const bad = std::find_if(indices, indices + count, [&](Index index) {
    return index < -1 || index >= plane_size;
  });
  throw std::out_of_range("indices must be between -1 and " + std::to_string(plane_size - 1) +
                          ", got " + std::to_string(*bad));
}

// The least and the greatest of some indices, if all are places or -1; `all` are named if not.
IndexRange checked_range(const Places& p, const Index* all, const Index* places, Index count) {
  const IndexRange range = active_kernels().pool.range_of_indices(count, places);
  if (range.least < -1 || range.greatest >= p.plane_size) {
    refuse_indices(p.values(), all, p.plane_size);
  }
  return range;
}

// Calls put(value, cell) for every value of y that has a place in x. The indices
// of some windows are checked while they are in the cache, and before anything is written if x is
// worth keeping. Cells are cleared just ahead of the furthest index, as indices of pools mostly
// ascend, so that cells are written while they are there too. Planes take turns, window by window:
// neighbouring windows often share a cell, and the next sum waits for the one before. Two large
// planes alone take up to a quarter less time than one by one, four small ones a tenth less;
// of whole calls it is a few percent.
template <class T, class Put>
void scatter_to_planes(const Places& p, int threads, const T* y, const Index* indices, T* x, Put put) {
  constexpr Index windows_at_once = 512, most_cells_of_four = 1 << 12;
  const Index planes = p.planes, windows = p.windows, plane_size = p.plane_size;
  const Index planes_of_task = ceil_div(1 << 14, std::max<Index>(1, windows + plane_size));
  parallel_for(threads, ceil_div(planes, planes_of_task), [&](Index task) {
    const Index end = std::min(planes, (task + 1) * planes_of_task);
    for (Index plane = task * planes_of_task, turns; plane < end; plane += turns) {
      turns = end - plane >= 4 && plane_size <= most_cells_of_four ? 4 : end - plane >= 2 ? 2 : 1;
      T* cells = x + plane * plane_size;
      Index cleared[] = {0, 0, 0, 0};
      const auto clear_up_to = [&](Index k, Index cell) {
        if (cell <= cleared[k]) return;
        std::fill(cells + k * plane_size + cleared[k], cells + k * plane_size + cell, T(0));
        cleared[k] = cell;
      };
      for (Index first = 0, count; first < windows; first += count) {
        count = std::min(windows_at_once, windows - first);
        const T* values = y + plane * windows + first;
        const Index* places = indices + plane * windows + first;
        bool all_placed = true;
        for (Index k = 0; k < turns; ++k) {
          const IndexRange range = checked_range(p, indices, places + k * windows, count);
          clear_up_to(k, range.greatest + 1);
          all_placed &= range.least >= 0;
        }
        const auto put_windows = [&](auto together) {
          for (Index i = 0; i < count; ++i) {
            for (Index k = 0; k < together; ++k) {
              const Index window = i + k * windows, place = places[window];
              if (all_placed || place >= 0) put(values[window], cells[k * plane_size + place]);
            }
          }
        };
        if (turns == 4) {
          put_windows(std::integral_constant<Index, 4>());
        } else if (turns == 2) {
          put_windows(std::integral_constant<Index, 2>());
        } else {
          put_windows(std::integral_constant<Index, 1>());
        }
      }
      for (Index k = 0; k < turns; ++k) clear_up_to(k, plane_size);
    }
  });
}

// The same with channels last, some channels of an image at a time.
template <class T, class Put>
void scatter_to_cells(const Places& p, int threads, const T* y, const Index* indices, T* x, Put put) {
  // Longer runs take 0.8 of the time, if there are enough for the threads.
  constexpr Index few = 32, many = 256;
  const Index channels_at_once = p.planes * ceil_div(p.depth, many) < threads ? few : many;
  const Index pieces = ceil_div(p.depth, channels_at_once);
  parallel_for(threads, p.planes * pieces, [&](Index task) {
    const Index plane = task / pieces, c0 = task % pieces * channels_at_once;
    const Index count = std::min(channels_at_once, p.depth - c0);
    T* const cells = x + plane * p.plane_size * p.depth + c0;
    Index cleared = 0;
    const auto clear_up_to = [&](Index cell) {
      for (; cleared < cell; ++cleared) std::fill_n(cells + cleared * p.depth, count, T(0));
    };
    for (Index window = 0; window < p.windows; ++window) {
      const Index first = (plane * p.windows + window) * p.depth + c0;
      const T* const values = y + first;
      const Index* const places = indices + first;
      const IndexRange range = checked_range(p, indices, places, count);
      clear_up_to(range.greatest + 1);
      for (Index c = 0; c < count; ++c) {
        if (range.least >= 0 || places[c] >= 0) put(values[c], cells[places[c] * p.depth + c]);
      }
    }
    clear_up_to(p.plane_size);
  });
}

template <class T, class Put>
void scatter(const Places& p, int threads, const T* y, const Index* indices, T* x, bool keeps_x, Put put) {
  if (keeps_x && p.values() > 0) checked_range(p, indices, indices, p.values());
  if (p.depth == 1) scatter_to_planes(p, threads, y, indices, x, put);
  else scatter_to_cells(p, threads, y, indices, x, put);
}

}  // namespace

// dx[indices[i]] += dy[i]
template <class T>
void max_pool2d_grad(const Places& p, int threads, const T* dy, const Index* indices, T* dx,
                     bool keeps_dx) {
  scatter(p, threads, dy, indices, dx, keeps_dx, [](T value, T& cell) {
    if constexpr (std::is_integral_v<T>) {
      cell = static_cast<T>(static_cast<std::uint64_t>(cell) + static_cast<std::uint64_t>(value));
    } else {
      cell += value;
    }
  });
}

// x[indices[i]] = y[i]
template <class T>
void max_unpool2d(const Places& p, int threads, const T* y, const Index* indices, T* x, bool keeps_x) {
  scatter(p, threads, y, indices, x, keeps_x, [](T value, T& cell) { cell = value; });
}

#define INSTANTIATE(T)                                                                       \
  template void max_pool2d_grad(const Places&, int, const T*, const Index*, T*, bool); \
  template void max_unpool2d(const Places&, int, const T*, const Index*, T*, bool);
FOR_EACH_TYPE(INSTANTIATE)
#undef INSTANTIATE

}  // namespace convpool
