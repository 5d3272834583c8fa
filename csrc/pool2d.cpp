#include "pool2d.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "numeric.hpp"
#include "scratch.hpp"
#include "threads.hpp"

namespace convpool {
namespace {

// One window of one axis: cells first, first + step, ... of its taps.
struct Window {
  Index first, step;
  Range taps;     // that show data
  Index counted;  // that count in a mean

  Index cell(Index tap) const { return first + tap * step; }
};

// Padding of the constant mode holds no data; what the other modes show does, unless padding shall
// not count. The overhang of ceil_mode never counts.
std::vector<Window> windows_of(const Pool2d& p, const Axis& axis) {
  std::vector<Window> windows;
  windows.reserve(static_cast<std::size_t>(axis.out));
  for (Index o = 0; o < axis.out; ++o) {
    if (p.adaptive) {
      const Index begin = o * axis.in / axis.out;
      const Index size = ceil_div((o + 1) * axis.in, axis.out) - begin;
      windows.push_back({begin, 1, {0, size}, size});
      continue;
    }
    const Range data = taps_reading(axis, o, axis.data());
    const Range padded = taps_reading(axis, o, axis.padded());
    const bool shows_padding = p.count_include_pad && axis.pad_mode != PadMode::constant;
    windows.push_back({axis.cell(o, 0), axis.dilation, shows_padding ? padded : data,
                       p.count_include_pad ? padded.size() : data.size()});
  }
  return windows;
}

double divisor_of(const Pool2d& p, const Window& row, const Window& column) {
  return static_cast<double>(p.divisor ? p.divisor : row.counted * column.counted);
}

// Sum of the constant padding in a window. Zero cells of an infinite value are nothing, not NaN.
template <class Value>
Value padding_sum(const Pool2d& p, const Window& row, const Window& column) {
  const Index padding = row.counted * column.counted - row.taps.size() * column.taps.size();
  if (padding == 0 || p.pad_value == 0) return 0;
  return element_of<Value>(p.pad_value) * static_cast<Value>(padding);
}

// A reduction says where it starts, how a cell joins a column's value, how columns join, and what
// the result is.
template <class T, Extremum extremum>
struct ExtremumOf {
  using Value = T;
  static constexpr T start = [] {
    using Limits = std::numeric_limits<T>;
    const T least = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
    const T greatest = Limits::has_infinity ? Limits::infinity() : Limits::max();
    return extremum == Extremum::maximum ? least : greatest;
  }();
  // Once a value is NaN no comparison with it is true, and it stays.
  static bool wins(T challenger, T value) {
    const bool beyond = extremum == Extremum::maximum ? challenger > value : challenger < value;
    return beyond | (challenger != challenger);
  }
  T cell(T value, T x) const { return wins(x, value) ? x : value; }
  T column(T value, T other) const { return cell(value, other); }
  T result(T value, const Window&, const Window&) const { return value; }
};

template <class T>
struct Sum {
  using Value = SumOf<T>;
  static constexpr Value start = 0;
  const Pool2d& p;

  Value cell(Value value, T x) const { return value + static_cast<Value>(x); }
  Value column(Value value, Value other) const { return value + other; }
  T result(Value value, const Window& row, const Window& column) const {
    return static_cast<T>(value + padding_sum<Value>(p, row, column));
  }
};

template <class T>
struct Mean : Sum<T> {
  T result(double value, const Window& row, const Window& column) const {
    const double sum = value + padding_sum<double>(this->p, row, column);
    return static_cast<T>(sum / divisor_of(this->p, row, column));
  }
};

template <class T>
struct PowerMean {
  using Value = double;
  static constexpr double start = 0;
  double power;

  double cell(double value, T x) const {
    const double size = std::abs(static_cast<double>(x));
    return value + (power == 1 ? size : power == 2 ? size * size : std::pow(size, power));
  }
  double column(double value, double other) const { return value + other; }
  T result(double value, const Window&, const Window&) const {
    return static_cast<T>(power == 2 ? std::sqrt(value) : std::pow(value, 1 / power));
  }
};

template <class T>
struct LargestSize : ExtremumOf<T, Extremum::maximum> {
  using Base = ExtremumOf<T, Extremum::maximum>;
  static constexpr T start = 0;
  T cell(T value, T x) const { return Base::cell(value, std::abs(x)); }
};

// Calls join(ow, iw) for every column iw that the windows along a row show: tap by tap over all
// windows, which runs along contiguous memory, or window by window where they are irregular. Each
// window meets its columns in order.
template <class Join>
void for_each_column(const Pool2d& p, const std::vector<Window>& columns, Join join) {
  for (Index ow = 0; p.adaptive && ow < p.w.out; ++ow) {
    const Window& window = columns[static_cast<std::size_t>(ow)];
    for (Index kw = window.taps.begin; kw < window.taps.end; ++kw) join(ow, window.cell(kw));
  }
  const bool shows_padding = p.count_include_pad && p.w.pad_mode != PadMode::constant;
  for (Index kw = 0; !p.adaptive && kw < p.w.kernel; ++kw) {
    const Range inside = outputs_reading(p.w, kw, p.w.data());
    const Range shown = shows_padding ? outputs_reading(p.w, kw, p.w.padded()) : inside;
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

// Any pool without indices: the rows of a window first, down each column of the image, then the
// columns. Both run along rows of memory.
template <class T, class Reduction>
void reduce(const Pool2d& p, int threads, const View<T>& x, const Reduction& reduction, T* y) {
  if (p.planes() == 0) return;
  using Value = typename Reduction::Value;
  const auto rows = windows_of(p, p.h), columns = windows_of(p, p.w);
  parallel_for(threads, p.planes() * p.h.out, [&](Index task) {
    const Index oh = task % p.h.out, c = task / p.h.out % p.channels;
    const Index n = task / p.h.out / p.channels;
    Scratch scratch(Scratch::bytes<Value>(p.w.in) + Scratch::bytes<Value>(p.w.out));
    Value* values = scratch.take<Value>(p.w.in);
    Value* joined = scratch.take<Value>(p.w.out);
    const Window& row = rows[static_cast<std::size_t>(oh)];
    std::fill_n(values, p.w.in, Reduction::start);
    for (Index kh = row.taps.begin; kh < row.taps.end; ++kh) {
      const T* cells = x.at(n, c, shown_cell(p.h, row.cell(kh)));
      for (Index iw = 0; iw < p.w.in; ++iw) {
        values[iw] = reduction.cell(values[iw], cells[iw * x.w]);
      }
    }
    std::fill_n(joined, p.w.out, Reduction::start);
    for_each_column(p, columns, [&](Index ow, Index iw) {
      joined[ow] = reduction.column(joined[ow], values[iw]);
    });
    for (Index ow = 0; ow < p.w.out; ++ow) {
      y[task * p.w.out + ow] =
          reduction.result(joined[ow], row, columns[static_cast<std::size_t>(ow)]);
    }
  });
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

template <class T, Extremum extremum>
void extremum_with_indices(const Pool2d& p, int threads, const View<T>& x, T* y, Index* indices) {
  if (p.planes() == 0) return;
  using Rule = ExtremumOf<T, extremum>;
  const auto rows = windows_of(p, p.h), columns = windows_of(p, p.w);
  parallel_for(threads, p.planes() * p.h.out, [&](Index task) {
    const Index c = task / p.h.out % p.channels, n = task / p.h.out / p.channels;
    const Window& row = rows[static_cast<std::size_t>(task % p.h.out)];
    T* best = y + task * p.w.out;
    Index* cell = indices + task * p.w.out;
    std::fill_n(best, p.w.out, Rule::start);
    std::fill_n(cell, p.w.out, -1);
    for (Index kh = row.taps.begin; kh < row.taps.end; ++kh) {
      const Index ih = row.cell(kh);
      const T* cells = x.at(n, c, ih);
      for_each_column(p, columns, [&](Index ow, Index iw) {
        const T value = cells[iw * x.w];
        const bool beats = (best[ow] == best[ow]) & Rule::wins(value, best[ow]);
        const bool takes = (cell[ow] < 0) | beats;
        best[ow] = takes ? value : best[ow];
        cell[ow] = takes ? ih * p.w.in + iw : cell[ow];
      });
    }
  });
}

}  // namespace

// x (N, C, H, W), y, indices (N, C, oh, ow): first extremum or first NaN of each window
template <class T>
void extremum_pool2d(const Pool2d& p, int threads, Extremum extremum, const View<T>& x, T* y,
                     Index* indices) {
  constexpr Extremum maximum = Extremum::maximum, minimum = Extremum::minimum;
  if (extremum == maximum) {
    indices ? extremum_with_indices<T, maximum>(p, threads, x, y, indices)
            : reduce(p, threads, x, ExtremumOf<T, maximum>{}, y);
  } else {
    indices ? extremum_with_indices<T, minimum>(p, threads, x, y, indices)
            : reduce(p, threads, x, ExtremumOf<T, minimum>{}, y);
  }
}

// dx (planes, plane_size): dx[indices[i]] += dy[i]
template <class T>
void max_pool2d_grad(Index planes, Index windows, Index plane_size, const T* dy,
                     const Index* indices, T* dx) {
  scatter(planes, windows, plane_size, dy, indices, dx, [](T value, T& cell) {
    if constexpr (std::is_integral_v<T>) {
      cell = static_cast<T>(static_cast<std::uint64_t>(cell) + static_cast<std::uint64_t>(value));
    } else {
      cell += value;
    }
  });
}

// x (planes, plane_size): x[indices[i]] = y[i]
template <class T>
void max_unpool2d(Index planes, Index windows, Index plane_size, const T* y, const Index* indices,
                  T* x) {
  scatter(planes, windows, plane_size, y, indices, x, [](T value, T& cell) { cell = value; });
}

template <class T>
void sum_pool2d(const Pool2d& p, int threads, const View<T>& x, T* y) {
  reduce(p, threads, x, Sum<T>{p}, y);
}

// x (N, C, H, W), y (N, C, oh, ow): y = sum over the window / cells that count
template <class T>
void avg_pool2d(const Pool2d& p, int threads, const View<T>& x, T* y) {
  reduce(p, threads, x, Mean<T>{{p}}, y);
}

// dx[cell] = sum over the windows that show it of dy[window] / cells that count
template <class T>
void avg_pool2d_grad(const Pool2d& p, int threads, const T* dy, T* dx) {
  if (p.planes() == 0) return;
  const Index plane_size = p.h.in * p.w.in;
  const auto rows = windows_of(p, p.h), columns = windows_of(p, p.w);
  parallel_for(threads, p.planes(), [&](Index plane) {
    Scratch scratch(Scratch::bytes<double>(plane_size) + Scratch::bytes<double>(p.w.out));
    double* sums = scratch.take<double>(plane_size);
    double* shares = scratch.take<double>(p.w.out);
    std::fill_n(sums, plane_size, 0.0);
    const T* dy_row = dy + plane * p.h.out * p.w.out;
    for (const Window& row : rows) {
      for (Index ow = 0; ow < p.w.out; ++ow) {
        shares[ow] = *dy_row++ / divisor_of(p, row, columns[static_cast<std::size_t>(ow)]);
      }
      for (Index kh = row.taps.begin; kh < row.taps.end; ++kh) {
        double* cells = sums + shown_cell(p.h, row.cell(kh)) * p.w.in;
        for_each_column(p, columns, [&](Index ow, Index iw) { cells[iw] += shares[ow]; });
      }
    }
    std::copy_n(sums, plane_size, dx + plane * plane_size);
  });
}

template <class T>
void lp_pool2d(const Pool2d& p, int threads, double power, const View<T>& x, T* y) {
  std::isinf(power) ? reduce(p, threads, x, LargestSize<T>{}, y) : reduce(p, threads, x, PowerMean<T>{power}, y);
}

#define INSTANTIATE(T)                                                                          \
  template void extremum_pool2d(const Pool2d&, int, Extremum, const View<T>&, T*, Index*);      \
  template void max_pool2d_grad(Index, Index, Index, const T*, const Index*, T*);               \
  template void max_unpool2d(Index, Index, Index, const T*, const Index*, T*);
FOR_EACH_TYPE(INSTANTIATE)
#undef INSTANTIATE

#define INSTANTIATE(T)                                                     \
  template void avg_pool2d(const Pool2d&, int, const View<T>&, T*);        \
  template void avg_pool2d_grad(const Pool2d&, int, const T*, T*);         \
  template void lp_pool2d(const Pool2d&, int, double, const View<T>&, T*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

template void sum_pool2d(const Pool2d&, int, const View<float>&, float*);
template void sum_pool2d(const Pool2d&, int, const View<double>&, double*);
template void sum_pool2d(const Pool2d&, int, const View<std::uint64_t>&, std::uint64_t*);

}  // namespace convpool
