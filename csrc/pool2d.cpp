#include "pool2d.hpp"

#include <limits>

#include "scratch.hpp"

namespace convpool {
namespace {

// Cells that hold data: the input without what negative padding crops.
Range data_cells(const Axis& axis) {
  return {std::max<Index>(0, -axis.pad_before), axis.in + std::min<Index>(0, axis.pad_after)};
}

// Cells that count in a mean with its padding: not the overhang of ceil_mode.
Range padded_cells(const Axis& axis) { return {-axis.pad_before, axis.in + axis.pad_after}; }

// One window of a plane: its taps that read data.
struct Window {
  Index oh, ow;
  Range kh, kw;
};

// Calls body(window) for every output pixel in memory order.
template <class Body>
void for_each_window(const Pool2d& p, Body body) {
  const Range rows = data_cells(p.h), columns = data_cells(p.w);
  for (Index oh = 0; oh < p.h.out; ++oh) {
    const Range kh = taps_inside(p.h, oh, rows);
    for (Index ow = 0; ow < p.w.out; ++ow) {
      body(Window{oh, ow, kh, taps_inside(p.w, ow, columns)});
    }
  }
}

// Calls body(cell) for the cells of a window in memory order.
template <class Body>
void for_each_cell(const Pool2d& p, const Window& window, Body body) {
  for (Index kh = window.kh.begin; kh < window.kh.end; ++kh) {
    const Index row = p.h.cell(window.oh, kh) * p.w.in;
    for (Index kw = window.kw.begin; kw < window.kw.end; ++kw) {
      body(row + p.w.cell(window.ow, kw));
    }
  }
}

Index counted_cells(const Pool2d& p, const Window& window) {
  if (p.divisor) return p.divisor;
  if (!p.count_include_pad) return window.kh.size() * window.kw.size();
  return taps_inside(p.h, window.oh, padded_cells(p.h)).size() *
         taps_inside(p.w, window.ow, padded_cells(p.w)).size();
}

// Sum of the padding in a window, for a pad_value other than zero.
double padding_sum(const Pool2d& p, const Window& window) {
  if (p.pad_value == 0 || !p.count_include_pad) return 0;
  const Index cells = taps_inside(p.h, window.oh, padded_cells(p.h)).size() *
                      taps_inside(p.w, window.ow, padded_cells(p.w)).size();
  const Index padded = cells - window.kh.size() * window.kw.size();
  return padded == 0 ? 0 : p.pad_value * static_cast<double>(padded);  // inf * 0 would be NaN
}

// Calls put(value, cell) for every value of y (planes, windows) that has a place in x. All indices
// are checked before anything is written.
template <class T, class Put>
void scatter(Index planes, Index windows, Index plane_size, const T* y, const Index* indices, T* x,
             Put put) {
  for (Index i = 0; i < planes * windows; ++i) {
    if (indices[i] < -1 || indices[i] >= plane_size) {
      throw std::out_of_range("indices must be between -1 and " + std::to_string(plane_size - 1) +
                              ", got " + std::to_string(indices[i]));
    }
  }
  std::fill_n(x, planes * plane_size, T(0));
  for (Index plane = 0; plane < planes; ++plane, x += plane_size) {
    for (Index i = 0; i < windows; ++i, ++y, ++indices) {
      if (*indices >= 0) put(*y, x[*indices]);
    }
  }
}

}  // namespace

// x (planes, H, W), y, indices (planes, oh, ow): first maximum or first NaN of each window
template <class T>
void max_pool2d(const Pool2d& p, const T* x, T* y, Index* indices) {
  for (Index plane = 0; plane < p.planes; ++plane, x += p.h.in * p.w.in) {
    for_each_window(p, [&](const Window& window) {
      T best = -std::numeric_limits<T>::infinity();
      Index best_cell = -1;
      for_each_cell(p, window, [&](Index cell) {
        const T value = x[cell];
        // Once best is NaN no comparison with it is true, and the first NaN stays.
        if (value > best || best_cell < 0 || (value != value && best == best)) {
          best = value;
          best_cell = cell;
        }
      });
      *y++ = best;
      if (indices) *indices++ = best_cell;
    });
  }
}

// dx (planes, plane_size): dx[indices[i]] += dy[i]
template <class T>
void max_pool2d_grad(Index planes, Index windows, Index plane_size, const T* dy,
                     const Index* indices, T* dx) {
  scatter(planes, windows, plane_size, dy, indices, dx, [](T value, T& cell) { cell += value; });
}

// x (planes, plane_size): x[indices[i]] = y[i]
template <class T>
void max_unpool2d(Index planes, Index windows, Index plane_size, const T* y, const Index* indices,
                  T* x) {
  scatter(planes, windows, plane_size, y, indices, x, [](T value, T& cell) { cell = value; });
}

// x (planes, H, W), y (planes, oh, ow): y = sum over the window / cells that count
template <class T>
void avg_pool2d(const Pool2d& p, const T* x, T* y) {
  for (Index plane = 0; plane < p.planes; ++plane, x += p.h.in * p.w.in) {
    for_each_window(p, [&](const Window& window) {
      double sum = padding_sum(p, window);
      for_each_cell(p, window, [&](Index cell) { sum += x[cell]; });
      *y++ = static_cast<T>(sum / static_cast<double>(counted_cells(p, window)));
    });
  }
}

// dx[cell] = sum over the windows that hold it of dy[window] / cells that count
template <class T>
void avg_pool2d_grad(const Pool2d& p, const T* dy, T* dx) {
  const Index plane_size = p.h.in * p.w.in;
  Scratch scratch(Scratch::bytes<double>(plane_size));
  double* sums = scratch.take<double>(plane_size);
  for (Index plane = 0; plane < p.planes; ++plane, dx += plane_size) {
    std::fill_n(sums, plane_size, 0.0);
    for_each_window(p, [&](const Window& window) {
      const double share = *dy++ / static_cast<double>(counted_cells(p, window));
      for_each_cell(p, window, [&](Index cell) { sums[cell] += share; });
    });
    std::copy_n(sums, plane_size, dx);
  }
}

#define INSTANTIATE(T)                                                                      \
  template void max_pool2d(const Pool2d&, const T*, T*, Index*);                            \
  template void max_pool2d_grad(Index, Index, Index, const T*, const Index*, T*);           \
  template void max_unpool2d(Index, Index, Index, const T*, const Index*, T*);              \
  template void avg_pool2d(const Pool2d&, const T*, T*);                                    \
  template void avg_pool2d_grad(const Pool2d&, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace convpool
