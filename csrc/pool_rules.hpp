// How cells join into results: the rules of the pools. pool_passes.hpp says what it asks of them.
//
// finish() makes results of what some rows of windows joined; row(i) is the i-th of them. Where
// in_place() is true results and values are the same array.
#pragma once

#include <cmath>
#include <limits>

#include "dispatch.hpp"
#include "numeric.hpp"
#include "scratch.hpp"
#include "view.hpp"
#include "windows.hpp"

namespace convpool {

// A row of results: their windows in one image.
template <class T>
struct OutputRow {
  View<T> image;
  const Window& rows;
  const std::vector<Window>& columns;
  Index offset;  // of the row in y

  const Window& columns_of(const Pool2d& p, Index number) const {
    return columns[static_cast<std::size_t>(quotient(number, p.depth))];
  }
};

// Whether as many cells of each count.
inline bool are_alike(const std::vector<Window>& windows) {
  for (const Window& window : windows) {
    if (window.counted != windows[0].counted) return false;
  }
  return true;
}

// Divides rows of windows, which have divisor(row, column). Divisors, where they differ, and their
// inverses are computed again only for rows that differ from those before.
template <class V>
class RowDivision {
 public:
  static constexpr Index most_rows = 64;

  static Index scratch_bytes(const Pool2d& p, Index rows_at_once) {
    return 2 * Scratch::bytes<V>(rows_at_once * p.out_row());
  }

  RowDivision(const Pool2d& p, const std::vector<Window>& rows, const std::vector<Window>& columns,
              Index rows_at_once, Scratch& scratch)
      : p_(p), columns_(columns), alike_(are_alike(rows) && are_alike(columns)) {
    const Index size = rows_at_once * p.out_row();
    divisors_ = scratch.take<V>(size);
    inverses_ = scratch.take<V>(size);
  }

  // As kernels.divide; row_at(i) is the window of row i.
  template <class Row, class Divisor>
  bool divide(Index count, const Row& row_at, const Divisor& divisor, const V* values, V* out) {
    const SumKernels<V>& kernels = active_kernels().pool;
    const Index size = p_.out_row();
    if (alike_) {
      if (size > 0 && chosen_ == 0) set(0, divisor(row_at(0), columns_[0]));
      chosen_ = 1;
      return kernels.divide_alike(count * size, values, divisors_, inverses_, out);
    }
    for (Index i = 0; i < count; ++i) choose_row(i, row_at(i), divisor);
    chosen_ = std::max(chosen_, count);
    return kernels.divide(count * size, values, divisors_, inverses_, out);
  }

 private:
  void set(Index at, double divisor) {
    divisors_[at] = static_cast<V>(divisor);
    inverses_[at] = 1 / divisors_[at];
  }

  template <class Divisor>
  void choose_row(Index i, const Window& row, const Divisor& divisor) {
    if (i < chosen_ && counted_[i] == row.counted) return;
    counted_[i] = row.counted;
    const Index size = p_.out_row(), at = i * size;
    if (i > 0 && counted_[i - 1] == row.counted) {
      std::copy_n(divisors_ + at - size, size, divisors_ + at);
      std::copy_n(inverses_ + at - size, size, inverses_ + at);
      return;
    }
    for (Index ow = 0; ow < p_.w.out; ++ow) {
      const double cells = divisor(row, columns_[static_cast<std::size_t>(ow)]);
      for (Index c = 0; c < p_.depth; ++c) set(at + ow * p_.depth + c, cells);
    }
  }

  const Pool2d& p_;
  const std::vector<Window>& columns_;
  const bool alike_;
  V *divisors_, *inverses_;
  Index counted_[most_rows], chosen_ = 0;
};

// Cells that never are the extremum of a window that has others.
template <class T>
T farthest_from(Extremum extremum) {
  using Limits = std::numeric_limits<T>;
  const T least = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
  const T greatest = Limits::has_infinity ? Limits::infinity() : Limits::max();
  return extremum == Extremum::maximum ? least : greatest;
}

template <class T>
struct ExtremumRule {
  using Value = T;
  static constexpr bool overlaps = true, changes_cells = false;

  const ExtremumKernels<T>& kernels = active_kernels().pool;
  const Pool2d& p;
  bool is_maximum;
  T identity;
  Index* indices;

  ExtremumRule(const Pool2d& p, Extremum extremum, Index* indices = nullptr)
      : p(p), is_maximum(extremum == Extremum::maximum), identity(farthest_from<T>(extremum)),
        indices(indices) {}

  const Joining<T>& joining(bool finite) const {
    if (is_maximum) return finite ? kernels.finite_maximum : kernels.maximum;
    return finite ? kernels.finite_minimum : kernels.minimum;
  }
  JoinRows<T, T> join_cells(bool finite) const { return joining(finite).every; }
  JoinRuns<T, T> join_runs() const { return joining(false).runs; }
  const PlaneKernels<T>& planes() const {
    return is_maximum ? kernels.plane_maximum : kernels.plane_minimum;
  }
  bool finishes_planes(const std::vector<Window>&, const std::vector<Window>&) const {
    return finishes();
  }
  double divisor(const Window&, const Window&) const { return 1; }
  bool gains_by_finite_cells() const { return kernels.all_finite; }
  bool all_finite(Index n, const T* cells) const { return kernels.all_finite(n, cells); }

  T value(T cell) const { return cell; }
  T join(T a, T b) const {
    const bool beyond = is_maximum ? b > a : b < a;
    return (beyond | (b != b)) ? b : a;
  }
  bool finishes() const { return indices != nullptr; }
  bool in_place() const { return true; }

  template <class Row>
  void finish(Index count, const Row& row_at, RowDivision<T>&, const T*, T* y) const {
    for (Index i = 0; i < count; ++i, y += p.out_row()) {
      const OutputRow<T> row = row_at(i);
      Index* places = indices + row.offset;
      const Range whole = whole_windows(row);
      for (Index ow = 0, n; ow < p.w.out; ow += n) {
        n = whole.begin <= ow && ow < whole.end ? whole.end - ow : 1;
        const Index first = ow * p.depth;
        find(n * p.depth, row, row.columns[static_cast<std::size_t>(ow)], y + first, places + first);
      }
    }
  }

 private:
  // Windows inside the image, with the cell that the kernel reads beyond the last one.
  Range whole_windows(const OutputRow<T>& row) const {
    if (p.adaptive || row.image.w != 1) return {0, 0};
    const Range cells = p.w.data();
    const Index begin = outputs_reading(p.w, 0, cells).begin;
    const Index end = std::min(cells.end, p.w.in - p.w.stride + 1);
    return {begin, outputs_reading(p.w, p.w.kernel - 1, {cells.begin, end}).end};
  }

  void find(Index n, const OutputRow<T>& row, const Window& columns, const T* y,
            Index* places) const {
    if (row.rows.taps.size() == 0 || columns.taps.size() == 0) {
      std::fill_n(places, n, -1);
      return;
    }
    const View<T>& image = row.image;
    const Index ih = row.rows.cell(row.rows.taps.begin), iw = columns.cell(columns.taps.begin);
    const WindowCells window{row.rows.taps.size(),     columns.taps.size(),
                             row.rows.step * image.h,  columns.step * image.w,
                             row.rows.step * p.w.in,   columns.step,
                             p.depth > 1 ? 1 : p.w.stride};
    kernels.find(n, image.at(0, 0, ih) + iw * image.w, window, y, ih * p.w.in + iw, places);
    // The kernel takes channels for windows side by side, and adds c to the place of channel c.
    for (Index c = 0; p.depth > 1 && c < p.depth; ++c) places[c] -= c;
  }
};

// Sum of the constant padding in a window. Zero cells of an infinite value are nothing, not NaN.
template <class Value>
Value padding_sum(const Pool2d& p, const Window& row, const Window& column) {
  const Index padding = row.counted * column.counted - row.taps.size() * column.taps.size();
  if (padding == 0 || p.pad_value == 0) return 0;
  return element_of<Value>(p.pad_value) * static_cast<Value>(padding);
}

// Whether floats may be summed as floats, first down and then along a window: the rounding error
// grows with its height plus its width.
inline bool narrow_sums(const Pool2d& p) {
  constexpr Index most_cells = 256, most_divisor = 1 << 24;
  const auto cells = [&](const Axis& axis) {
    return p.adaptive ? ceil_div(axis.in, std::max<Index>(axis.out, 1)) + 1 : axis.kernel;
  };
  return cells(p.h) <= most_cells / cells(p.w) && p.divisor <= most_divisor;
}

// Sums of floats are kept in `V`: see narrow_sums().
template <class T, class V>
struct SumRule {
  using Value = V;
  static constexpr bool overlaps = false, changes_cells = false;
  static constexpr V identity = 0;

  const PoolKernels& pool = active_kernels().pool;
  const SumKernels<V>& kernels = pool;
  const Pool2d& p;
  bool is_mean;

  SumRule(const Pool2d& p, bool is_mean) : p(p), is_mean(is_mean) {}

  const Joining<V>& joining(bool) const { return kernels.sum; }
  JoinRows<T, V> join_cells(bool) const {
    if constexpr (std::is_same_v<T, V>) {
      return kernels.sum.every;
    } else {
      return pool.sum_wide;
    }
  }
  JoinRuns<T, V> join_runs() const {
    if constexpr (std::is_same_v<T, V>) {
      return kernels.sum.runs;
    } else {
      return pool.sum_runs_wide;
    }
  }
  const PlaneKernels<V>& planes() const { return kernels.plane_sum; }
  bool finishes_planes(const std::vector<Window>& rows, const std::vector<Window>& columns) const {
    return p.pad_value != 0 || !(are_alike(rows) && are_alike(columns));
  }
  double divisor(const Window& row, const Window& column) const {
    return is_mean ? divisor_of(p, row, column) : 1;
  }
  bool gains_by_finite_cells() const { return false; }
  bool all_finite(Index, const T*) const { return false; }

  V value(T cell) const { return static_cast<V>(cell); }
  V join(V a, V b) const { return a + b; }
  bool finishes() const { return true; }
  bool in_place() const { return std::is_same_v<T, V>; }

  template <class Row>
  void finish(Index count, const Row& row_at, RowDivision<V>& division, V* sums, T* y) const {
    for (Index i = 0; p.pad_value != 0 && i < count; ++i) {
      const OutputRow<T> row = row_at(i);
      for (Index o = 0; o < p.out_row(); ++o) {
        sums[i * p.out_row() + o] += padding_sum<V>(p, row.rows, row.columns_of(p, o));
      }
    }
    [[maybe_unused]] bool finite = true;
    if constexpr (std::is_floating_point_v<V>) {
      const auto divide_by = [&](const Window& row, const Window& column) {
        return divisor(row, column);
      };
      const auto window_at = [&](Index i) -> const Window& { return row_at(i).rows; };
      finite = division.divide(count, window_at, divide_by, sums, sums);
    }
    if constexpr (!std::is_same_v<T, V>) std::copy_n(sums, count * p.out_row(), y);
    if constexpr (std::is_floating_point_v<V>) {
      for (Index i = 0; !finite && i < count; ++i) repair(row_at(i), y + i * p.out_row());
    }
  }

 private:
  // What a narrow sum could not hold, a wide one may; and the kernel has NaN for infinity.
  void repair(const OutputRow<T>& row, T* y) const {
    for (Index o = 0; o < p.out_row(); ++o) {
      if (y[o] - y[o] == 0) continue;
      const Window& columns = row.columns_of(p, o);
      double sum = padding_sum<double>(p, row.rows, columns);
      for (Index kh = row.rows.taps.begin; kh < row.rows.taps.end; ++kh) {
        const T* cells = row.image.at(0, 0, shown_cell(p.h, row.rows.cell(kh))) + o % p.depth;
        for (Index kw = columns.taps.begin; kw < columns.taps.end; ++kw) {
          sum += cells[shown_cell(p.w, columns.cell(kw)) * row.image.w];
        }
      }
      y[o] = static_cast<T>(sum / divisor(row.rows, columns));
    }
  }
};

template <class T>
struct PowerRule : SumRule<T, double> {
  static constexpr bool changes_cells = true;
  double power;
  PowerRule(const Pool2d& p, double power) : SumRule<T, double>(p, false), power(power) {}

  double value(T cell) const {
    const double size = std::abs(static_cast<double>(cell));
    return power == 1 ? size : power == 2 ? size * size : std::pow(size, power);
  }
  bool in_place() const { return false; }
  template <class Row>
  void finish(Index count, const Row&, RowDivision<double>&, const double* sums, T* y) const {
    for (Index i = 0; i < count * this->p.out_row(); ++i) {
      y[i] = static_cast<T>(power == 2 ? std::sqrt(sums[i]) : std::pow(sums[i], 1 / power));
    }
  }
};

template <class T>
struct LargestSizeRule : ExtremumRule<T> {
  static constexpr bool changes_cells = true;
  explicit LargestSizeRule(const Pool2d& p) : ExtremumRule<T>(p, Extremum::maximum) {
    this->identity = 0;
  }
  T value(T cell) const { return std::abs(cell); }
};

}  // namespace convpool
