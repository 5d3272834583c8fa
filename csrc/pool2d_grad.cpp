#include <string>

#include "numeric.hpp"
#include "pool2d.hpp"
#include "scratch.hpp"
#include "threads.hpp"
#include "windows.hpp"

namespace convpool {
namespace {

// Calls join(ow, iw) for every column iw that the windows along a row show: tap by tap over all
// windows, which runs along contiguous memory, or window by window where they are irregular. Each
// window meets its columns in order.
template <class Join>
void for_each_column(const Pool2d& p, const std::vector<Window>& columns, Join join) {
  for (Index ow = 0; p.adaptive && ow < p.w.out; ++ow) {
    const Window& window = columns[static_cast<std::size_t>(ow)];
    for (Index kw = window.taps.begin; kw < window.taps.end; ++kw) join(ow, window.cell(kw));
  }
  for (Index kw = 0; !p.adaptive && kw < p.w.kernel; ++kw) {
    const Range inside = outputs_reading(p.w, kw, p.w.data());
    const Range shown = outputs_reading(p.w, kw, shown_cells(p, p.w));
    const Index first = p.w.cell(0, kw), stride = p.w.stride;
    for (Index ow = shown.begin; ow < std::min(inside.begin, shown.end); ++ow) {
      join(ow, shown_cell(p.w, first + ow * stride));
    }
    for (Index ow = inside.begin; ow < inside.end; ++ow) join(ow, first + ow * stride);
    for (Index ow = std::max(inside.end, shown.begin); ow < shown.end; ++ow) {
      join(ow, shown_cell(p.w, first + ow * stride));
    }
  }
}

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

// dx[cell] = sum over the windows that show it of dy[window] / cells that count
template <class T>
void avg_pool2d_grad(const Pool2d& p, int threads, const T* dy, T* dx) {
  if (p.planes() == 0) return;
  const Index plane_size = p.h.in * p.w.in;
  const auto rows = windows_of(p, p.h), columns = windows_of(p, p.w);
  parallel_for(threads, p.planes(), [&](Index plane) {
    Scratch scratch(Scratch::bytes<double>(plane_size) + Scratch::bytes<double>(p.w.out) +
                    Scratch::bytes<double>(p.w.in));
    double* sums = scratch.take<double>(plane_size);
    double* shares = scratch.take<double>(p.w.out);
    double* spread = scratch.take<double>(p.w.in);
    std::fill_n(sums, plane_size, 0.0);
    const T* dy_row = dy + plane * p.h.out * p.w.out;
    for (const Window& row : rows) {
      for (Index ow = 0; ow < p.w.out; ++ow) {
        shares[ow] = *dy_row++ / divisor_of(p, row, columns[static_cast<std::size_t>(ow)]);
      }
      std::fill_n(spread, p.w.in, 0.0);
      for_each_column(p, columns, [&](Index ow, Index iw) { spread[iw] += shares[ow]; });
      for (Index kh = row.taps.begin; kh < row.taps.end; ++kh) {
        double* cells = sums + shown_cell(p.h, row.cell(kh)) * p.w.in;
        for (Index iw = 0; iw < p.w.in; ++iw) cells[iw] += spread[iw];
      }
    }
    std::copy_n(sums, plane_size, dx + plane * plane_size);
  });
}

#define INSTANTIATE(T)                                                              \
  template void max_pool2d_grad(Index, Index, Index, int, const T*, const Index*, T*);   \
  template void max_unpool2d(Index, Index, Index, int, const T*, const Index*, T*);
FOR_EACH_TYPE(INSTANTIATE)
#undef INSTANTIATE

template void avg_pool2d_grad(const Pool2d&, int, const float*, float*);
template void avg_pool2d_grad(const Pool2d&, int, const double*, double*);

}  // namespace convpool
