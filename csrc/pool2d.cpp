#include "pool2d.hpp"

#include <cmath>
#include <limits>

#include "dispatch.hpp"
#include "numeric.hpp"
#include "pool_passes.hpp"
#include "threads.hpp"

namespace convpool {
namespace {

// A row of results: their windows in one image.
template <class T>
struct OutputRow {
  const View<T>& image;
  const Window& rows;
  const std::vector<Window>& columns;
  Index offset;  // of the row in y
};

// Rules: see pool_passes.hpp. finish() makes results of what a row of windows joined, with the
// scale() of each column. Where in_place() is true results and values are the same array.
template <class T, Extremum extremum>
struct ExtremumRule {
  using Value = T;
  static constexpr bool overlaps = true;
  static constexpr T identity = [] {
    using Limits = std::numeric_limits<T>;
    const T least = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
    const T greatest = Limits::has_infinity ? Limits::infinity() : Limits::max();
    return extremum == Extremum::maximum ? least : greatest;
  }();

  const ExtremumKernels<T>& kernels = active_kernels().pool;
  const Joining<T>& joining = extremum == Extremum::maximum ? kernels.maximum : kernels.minimum;
  JoinRows<T, T> join_cells = joining.every;
  const Pool2d& p;
  Index* indices = nullptr;

  explicit ExtremumRule(const Pool2d& p, Index* indices = nullptr) : p(p), indices(indices) {}

  T value(T cell) const { return cell; }
  T join(T a, T b) const {
    const bool beyond = extremum == Extremum::maximum ? b > a : b < a;
    return (beyond | (b != b)) ? b : a;
  }
  T scale(const Window&) const { return 1; }
  bool finishes() const { return indices != nullptr; }
  bool in_place() const { return true; }

  void finish(const OutputRow<T>& row, const T*, const T*, T* y) const {
    const Range whole = whole_windows(row);
    Index* places = indices + row.offset;
    for (Index ow = 0; ow < p.w.out;) {
      const bool together = whole.begin <= ow && ow < whole.end;
      const Index n = together ? whole.end - ow : 1;
      find(n, row, row.columns[static_cast<std::size_t>(ow)], y + ow, places + ow);
      ow += n;
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
                             p.w.stride};
    kernels.find(n, image.at(0, 0, ih) + iw * image.w, window, y, ih * p.w.in + iw, places);
  }
};

// Sum of the constant padding in a window. Zero cells of an infinite value are nothing, not NaN.
template <class Value>
Value padding_sum(const Pool2d& p, const Window& row, const Window& column) {
  const Index padding = row.counted * column.counted - row.taps.size() * column.taps.size();
  if (padding == 0 || p.pad_value == 0) return 0;
  return element_of<Value>(p.pad_value) * static_cast<Value>(padding);
}

// Sums of floats are kept in `V`: see narrow_sums().
template <class T, class V>
struct SumRule {
  using Value = V;
  static constexpr bool overlaps = false;
  static constexpr V identity = 0;

  const SumKernels<V>& kernels = active_kernels().pool;
  const Joining<V>& joining = kernels.sum;
  JoinRows<T, V> join_cells = [] {
    if constexpr (std::is_same_v<T, V>) {
      return static_cast<const SumKernels<V>&>(active_kernels().pool).sum.every;
    } else {
      return active_kernels().pool.sum_wide;
    }
  }();
  const Pool2d& p;
  bool is_mean;
  // Multiplying by the inverse of a power of two is exact, and a tenth faster than dividing.
  bool multiplies;

  SumRule(const Pool2d& p, bool is_mean)
      : p(p), is_mean(is_mean), multiplies(!is_mean || has_exact_inverse()) {}

  V value(T cell) const { return static_cast<V>(cell); }
  V join(V a, V b) const { return a + b; }
  bool finishes() const { return true; }
  V scale(const Window& columns) const {
    if (!is_mean) return 1;
    if (multiplies) return V(1) / static_cast<V>(p.divisor ? p.divisor : p.h.kernel * p.w.kernel);
    return static_cast<V>(p.divisor ? p.divisor : columns.counted);
  }
  bool in_place() const { return std::is_same_v<T, V>; }

  void finish(const OutputRow<T>& row, V* sums, const V* scales, T* y) const {
    for (Index ow = 0; p.pad_value != 0 && ow < p.w.out; ++ow) {
      sums[ow] += padding_sum<V>(p, row.rows, row.columns[static_cast<std::size_t>(ow)]);
    }
    if constexpr (std::is_floating_point_v<V>) {
      const bool counts_rows = is_mean && !p.divisor && !multiplies;
      const V factor = static_cast<V>(counts_rows ? row.rows.counted : 1);
      const auto scale = multiplies ? kernels.multiply : kernels.divide;
      const bool finite = scale(p.w.out, sums, scales, factor);
      if (std::is_same_v<V, float> && !finite) repair(row, y);
    }
    if constexpr (!std::is_same_v<T, V>) std::copy_n(sums, p.w.out, y);
  }

 private:
  bool has_exact_inverse() const {
    const auto is_whole = [&](const Axis& axis) {
      const Range cells = p.count_include_pad ? axis.padded() : axis.data();
      return axis.out > 0 && axis.cell(0, 0) >= cells.begin &&
             axis.cell(axis.out - 1, axis.kernel - 1) < cells.end;
    };
    if (!p.divisor && (p.adaptive || !is_whole(p.h) || !is_whole(p.w))) return false;
    const Index divisor = p.divisor ? p.divisor : p.h.kernel * p.w.kernel;
    return (divisor & (divisor - 1)) == 0;
  }

  // What a narrow sum could not hold, a wide one may.
  void repair(const OutputRow<T>& row, T* y) const {
    for (Index ow = 0; ow < p.w.out; ++ow) {
      if (y[ow] - y[ow] == 0) continue;
      const Window& columns = row.columns[static_cast<std::size_t>(ow)];
      double sum = padding_sum<double>(p, row.rows, columns);
      for (Index kh = row.rows.taps.begin; kh < row.rows.taps.end; ++kh) {
        const T* cells = row.image.at(0, 0, shown_cell(p.h, row.rows.cell(kh)));
        for (Index kw = columns.taps.begin; kw < columns.taps.end; ++kw) {
          sum += cells[shown_cell(p.w, columns.cell(kw)) * row.image.w];
        }
      }
      y[ow] = static_cast<T>(is_mean ? sum / divisor_of(p, row.rows, columns) : sum);
    }
  }
};

template <class T>
struct PowerRule : SumRule<T, double> {
  double power;
  PowerRule(const Pool2d& p, double power) : SumRule<T, double>(p, false), power(power) {
    this->join_cells = nullptr;
  }

  double value(T cell) const {
    const double size = std::abs(static_cast<double>(cell));
    return power == 1 ? size : power == 2 ? size * size : std::pow(size, power);
  }
  bool in_place() const { return false; }
  void finish(const OutputRow<T>&, const double* sums, const double*, T* y) const {
    for (Index ow = 0; ow < this->p.w.out; ++ow) {
      y[ow] = static_cast<T>(power == 2 ? std::sqrt(sums[ow]) : std::pow(sums[ow], 1 / power));
    }
  }
};

template <class T>
struct LargestSizeRule : ExtremumRule<T, Extremum::maximum> {
  static constexpr T identity = 0;
  explicit LargestSizeRule(const Pool2d& p) : ExtremumRule<T, Extremum::maximum>(p) {
    this->join_cells = nullptr;
  }
  T value(T cell) const { return std::abs(cell); }
};

constexpr Index cells_of_task = 1 << 15;  // a few microseconds

Index cells_of_output_row(const Pool2d& p) {
  return std::max<Index>(1, ceil_div(p.h.in, p.h.out) * p.w.in);
}

// Output rows that follow each other in a task, whatever the number of threads: the sums of tall
// windows depend on where a band begins.
Index rows_of_band(const Pool2d& p) {
  return std::min(p.h.out,
                  std::max(ceil_div(cells_of_task, cells_of_output_row(p)), 4 * p.h.kernel));
}

template <class T, class Rule>
void reduce(const Pool2d& p, int threads, const View<T>& x, const Rule& rule, T* y) {
  using Value = typename Rule::Value;
  if (p.planes() == 0 || p.h.out == 0 || p.w.out == 0) return;
  const auto rows = windows_of(p, p.h), columns = windows_of(p, p.w);
  const Index band = rows_of_band(p), bands = ceil_div(p.h.out, band), total = p.planes() * bands;
  const Index task_bands = ceil_div(cells_of_task, cells_of_output_row(p) * band);
  const Index rows_at_once = HorizontalPass<Rule>::rows_at_once(p);
  const Index scratch_bytes = VerticalPass<T, Rule>::scratch_bytes(p) +
                              HorizontalPass<Rule>::scratch_bytes(p) +
                              Scratch::bytes<Value>(rows_at_once * p.w.out) +
                              Scratch::bytes<Value>(p.w.out);
  parallel_for(threads, ceil_div(total, task_bands), [&](Index task) {
    Scratch scratch(scratch_bytes);
    VerticalPass<T, Rule> vertical(p, rule, rows, scratch);
    HorizontalPass<Rule> horizontal(p, rule, columns, scratch);
    const bool copies = horizontal.copies();
    Value* joined = scratch.take<Value>(rows_at_once * p.w.out);
    Value* scales = scratch.take<Value>(p.w.out);
    for (Index ow = 0; ow < p.w.out; ++ow) {
      scales[ow] = rule.scale(columns[static_cast<std::size_t>(ow)]);
    }
    for (Index i = task * task_bands; i < std::min((task + 1) * task_bands, total); ++i) {
      const Index plane = i / bands, first = i % bands * band;
      const View<T> image = x.from(plane / p.channels, plane % p.channels);
      vertical.start(image);
      const Index last = std::min(first + band, p.h.out);
      for (Index oh = first, count; oh < last; oh += count) {
        count = std::min(rows_at_once, last - oh);
        const Index offset = (plane * p.h.out + oh) * p.w.out;
        Value* values = joined;
        if constexpr (std::is_same_v<T, Value>) {
          if (rule.in_place()) values = y + offset;
        }
        if (vertical.joins_pairs(oh, count)) {
          vertical.join_pairs(oh, count, values);
        } else if (copies) {
          vertical.join(oh, count, values, p.w.out);
        } else {
          vertical.join(oh, count, horizontal.values(0), horizontal.line_size());
          horizontal.join(count, values);
        }
        for (Index i = 0; i < count && rule.finishes(); ++i) {
          const Index at = i * p.w.out;
          rule.finish({image, rows[static_cast<std::size_t>(oh + i)], columns, offset + at}, values + at, scales, y + offset + at);
        }
      }
    }
  });
}

// Whether floats may be summed as floats, first down and then along a window: the rounding error
// grows with its height plus its width.
bool narrow_sums(const Pool2d& p) {
  constexpr Index most_cells = 256, most_divisor = 1 << 24;
  const auto cells = [&](const Axis& axis) {
    return p.adaptive ? ceil_div(axis.in, std::max<Index>(axis.out, 1)) + 1 : axis.kernel;
  };
  return cells(p.h) <= most_cells / cells(p.w) && p.divisor <= most_divisor;
}

template <class T>
void sum(const Pool2d& p, int threads, const View<T>& x, bool is_mean, T* y) {
  if constexpr (std::is_same_v<T, float>) {
    if (!narrow_sums(p)) return reduce(p, threads, x, SumRule<T, double>(p, is_mean), y);
  }
  reduce(p, threads, x, SumRule<T, T>(p, is_mean), y);
}

}  // namespace

// x (N, C, H, W), y, indices (N, C, oh, ow): first extremum or first NaN of each window
template <class T>
void extremum_pool2d(const Pool2d& p, int threads, Extremum extremum, const View<T>& x, T* y,
                     Index* indices) {
  if (extremum == Extremum::maximum) {
    reduce(p, threads, x, ExtremumRule<T, Extremum::maximum>(p, indices), y);
  } else {
    reduce(p, threads, x, ExtremumRule<T, Extremum::minimum>(p, indices), y);
  }
}

template <class T>
void sum_pool2d(const Pool2d& p, int threads, const View<T>& x, T* y) {
  sum(p, threads, x, false, y);
}

// x (N, C, H, W), y (N, C, oh, ow): y = sum over the window / cells that count
template <class T>
void avg_pool2d(const Pool2d& p, int threads, const View<T>& x, T* y) {
  sum(p, threads, x, true, y);
}

template <class T>
void lp_pool2d(const Pool2d& p, int threads, double power, const View<T>& x, T* y) {
  if (std::isinf(power)) {
    reduce(p, threads, x, LargestSizeRule<T>(p), y);
  } else {
    reduce(p, threads, x, PowerRule<T>(p, power), y);
  }
}

#define INSTANTIATE(T) \
  template void extremum_pool2d(const Pool2d&, int, Extremum, const View<T>&, T*, Index*);
FOR_EACH_TYPE(INSTANTIATE)
#undef INSTANTIATE

#define INSTANTIATE(T)                                              \
  template void avg_pool2d(const Pool2d&, int, const View<T>&, T*); \
  template void lp_pool2d(const Pool2d&, int, double, const View<T>&, T*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

template void sum_pool2d(const Pool2d&, int, const View<float>&, float*);
template void sum_pool2d(const Pool2d&, int, const View<double>&, double*);
template void sum_pool2d(const Pool2d&, int, const View<std::uint64_t>&, std::uint64_t*);

}  // namespace convpool
