#include <string>

#include "numeric.hpp"
#include "pool2d.hpp"
#include "threads.hpp"

namespace convpool {
namespace {

// Calls put(value, cell) for every value of y (planes, windows) that has a place in x. All indices
// are checked before anything is written: by the signs of their distances to the limits, all in
// one word, which leaves a loop without branches.
template <class T, class Put>
void scatter(Index planes, Index windows, Index plane_size, int threads, const T* y,
             const Index* indices, T* x, Put put) {
  const Index count = planes * windows;
  std::uint64_t distances = 0;
  for (Index i = 0; i < count; ++i) {
    const std::uint64_t index = static_cast<std::uint64_t>(indices[i]);
    distances |= (index + 1) | (static_cast<std::uint64_t>(plane_size) - 1 - index);
  }
  for (Index i = 0; distances >> 63 && i < count; ++i) {
    if (indices[i] < -1 || indices[i] >= plane_size) {
      throw std::out_of_range("indices must be between -1 and " + std::to_string(plane_size - 1) +
                              ", got " + std::to_string(indices[i]));
    }
  }
  const Index planes_of_task = ceil_div(1 << 14, std::max<Index>(1, windows + plane_size));
  parallel_for(threads, ceil_div(planes, planes_of_task), [&](Index task) {
    const Index end = std::min(planes, (task + 1) * planes_of_task);
    for (Index plane = task * planes_of_task; plane < end; ++plane) {
      const T* values = y + plane * windows;
      const Index* places = indices + plane * windows;
      T* cells = x + plane * plane_size;
      std::fill_n(cells, plane_size, T(0));
      for (Index i = 0; i < windows; ++i) {
        if (places[i] >= 0) put(values[i], cells[places[i]]);
      }
    }
  });
}

}  // namespace

// dx (planes, plane_size): dx[indices[i]] += dy[i]
template <class T>
void max_pool2d_grad(Index planes, Index windows, Index plane_size, int threads, const T* dy,
                     const Index* indices, T* dx) {
  scatter(planes, windows, plane_size, threads, dy, indices, dx, [](T value, T& cell) {
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
                  const Index* indices, T* x) {
  scatter(planes, windows, plane_size, threads, y, indices, x, [](T value, T& cell) { cell = value; });
}

#define INSTANTIATE(T)                                                              \
  template void max_pool2d_grad(Index, Index, Index, int, const T*, const Index*, T*);   \
  template void max_unpool2d(Index, Index, Index, int, const T*, const Index*, T*);
FOR_EACH_TYPE(INSTANTIATE)
#undef INSTANTIATE

}  // namespace convpool
