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

// Calls put(value, cell) for every value of y (planes, windows) that has a place in x. The indices
// of some windows are checked while they are in the cache, and before anything is written if x is
// worth keeping. Cells are cleared just ahead of the furthest index, as indices of pools mostly
// ascend, so that cells are written while they are there too. Planes take turns, window by window:
// neighbouring windows often share a cell, and the next sum waits for the one before. Two large
// planes alone take up to a quarter less time than one by one, four small ones a tenth less;
// of whole calls it is a few percent.
template <class T, class Put>
void scatter(Index planes, Index windows, Index plane_size, int threads, const T* y,
             const Index* indices, T* x, bool keeps_x, Put put) {
  constexpr Index windows_at_once = 512, most_cells_of_four = 1 << 12;
  const auto range_of = active_kernels().pool.range_of_indices;
  const auto checked_range = [&](const Index* places, Index count) {
    const IndexRange range = range_of(count, places);
    if (range.least < -1 || range.greatest >= plane_size) {
      refuse_indices(planes * windows, indices, plane_size);
    }
    return range;
  };
  if (keeps_x && planes * windows > 0) checked_range(indices, planes * windows);

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
          const IndexRange range = checked_range(places + k * windows, count);
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

}  // namespace

// dx (planes, plane_size): dx[indices[i]] += dy[i]
template <class T>
void max_pool2d_grad(Index planes, Index windows, Index plane_size, int threads, const T* dy,
                     const Index* indices, T* dx, bool keeps_dx) {
  scatter(planes, windows, plane_size, threads, dy, indices, dx, keeps_dx, [](T value, T& cell) {
    if constexpr (std::is_integral_v<T>) {
      cell = static_cast<T>(static_cast<std::uint64_t>(cell) + static_cast<std::uint64_t>(value));
    } else {
      cell += value;
    }
  });
}

// x (planes, plane_size): x[indices[i]] = y[i]
template <class T>
void max_unpool2d(Index planes, Index windows, Index plane_size, int threads, const T* y,
                  const Index* indices, T* x, bool keeps_x) {
  scatter(planes, windows, plane_size, threads, y, indices, x, keeps_x,
          [](T value, T& cell) { cell = value; });
}

#define INSTANTIATE(T)                                                                       \
  template void max_pool2d_grad(Index, Index, Index, int, const T*, const Index*, T*, bool); \
  template void max_unpool2d(Index, Index, Index, int, const T*, const Index*, T*, bool);
FOR_EACH_TYPE(INSTANTIATE)
#undef INSTANTIATE

}  // namespace convpool
