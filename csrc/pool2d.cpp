#include "pool2d.hpp"

#include <cmath>

#include "pool_passes.hpp"
#include "pool_planes.hpp"
#include "pool_rules.hpp"
#include "threads.hpp"

namespace convpool {
namespace {

constexpr Index cells_of_task = 1 << 15;  // a few microseconds for each join

Index cells_of_output_row(const Pool2d& p) {
  return std::max<Index>(1, ceil_div(p.h.in, p.h.out) * p.in_row());
}

// Output rows that follow each other in a task, whatever the number of threads: the sums of tall
// windows depend on where a band begins.
Index rows_of_band(const Pool2d& p) {
  return std::min(p.h.out,
                  std::max(ceil_div(cells_of_task, cells_of_output_row(p)), 4 * p.h.kernel));
}

// Whether the windows are whole planes, which need no passes: a tenth of the time.
bool are_planes(const Pool2d& p) {
  constexpr Index most_cells = 1 << 16;
  return !p.adaptive && p.depth == 1 && sees_all(p, p.h) && sees_all(p, p.w) &&
         p.h.in <= most_cells / p.w.in;
}

// Where a rule puts values of results at `y`: there, if it may.
template <class T, class Rule>
typename Rule::Value* place_of_values(const Rule& rule, T* y, typename Rule::Value* elsewhere) {
  if constexpr (std::is_same_v<T, typename Rule::Value>) {
    if (rule.in_place()) return y;
  }
  return elsewhere;
}

// Planes that are not one run of memory are copied into one: the same sums for every layout.
template <class T, class Rule>
void reduce_planes(const Pool2d& p, int threads, const View<T>& x, const Rule& rule, T* y) {
  using Value = typename Rule::Value;
  const bool copies = x.w != 1 || (x.h != p.w.in && p.h.in > 1);
  const Index planes_at_once = copies ? 1 : RowDivision<Value>::most_rows;
  const auto rows = windows_of(p, p.h), columns = windows_of(p, p.w);
  const Index cells = p.h.in * p.w.in, task_planes = ceil_div(cells_of_task, cells);
  const auto join_runs = rule.join_runs();
  parallel_for(threads, ceil_div(p.planes(), task_planes), [&](Index task) {
    Scratch scratch(RowDivision<Value>::scratch_bytes(p, planes_at_once) +
                    Scratch::bytes<Value>(planes_at_once) + Scratch::bytes<T>(copies ? cells : 0));
    RowDivision<Value> division(p, rows, columns, planes_at_once, scratch);
    Value* joined = scratch.take<Value>(planes_at_once);
    T* copied = scratch.take<T>(copies ? cells : 0);
    const Index end = std::min((task + 1) * task_planes, p.planes());
    for (Index plane = task * task_planes, count; plane < end; plane += count) {
      const Index image = plane / p.channels, channel = plane % p.channels;
      count = std::min({end - plane, p.channels - channel, planes_at_once});
      const T* from = x.at(image, channel);
      for (Index ih = 0, to = 0; copies && ih < p.h.in; ++ih) {
        for (Index iw = 0; iw < p.w.in; ++iw) copied[to++] = from[ih * x.h + iw * x.w];
      }
      Value* values = place_of_values(rule, y + plane, joined);
      join_runs(count, cells, copies ? copied : from, x.c, values);
      if (!rule.finishes()) continue;
      const auto row_at = [&](Index i) {
        return OutputRow<T>{x.from(image, channel + i), rows[0], columns, plane + i};
      };
      rule.finish(count, row_at, division, values, y + plane);
    }
  });
}

// The two passes over output rows oh, oh + 1, ... of `planes` images that follow each other.
template <class T, class Rule, class ImageAt>
void join_rows(Index planes, const ImageAt& image_at, bool starts, Index oh, Index count,
               Index width, const Rule& rule, VerticalPass<T, Rule>& vertical,
               HorizontalPass<Rule>& horizontal, typename Rule::Value* values) {
  bool finite = true, done = true;
  for (Index k = 0; k < planes; ++k) {
    if (starts) vertical.start(image_at(k));
    finite &= vertical.choose_kernels(oh, count);
    typename Rule::Value* rows_of_plane = values + k * count * width;
    if (vertical.joins_pairs(oh, count)) {
      vertical.join_pairs(oh, count, rows_of_plane);
    } else if (horizontal.copies()) {
      vertical.join(oh, count, rows_of_plane, width);
    } else {
      done = false;
      vertical.join(oh, count, horizontal.values(k * count), horizontal.line_size());
    }
  }
  if (!done) horizontal.join(rule.joining(finite), planes * count, values);
}

template <class T, class Rule>
void reduce(const Pool2d& p, int threads, const View<T>& x, const Rule& rule, T* y) {
  using Value = typename Rule::Value;
  if (p.planes() == 0 || p.h.out == 0 || p.w.out == 0) return;
  if constexpr (!Rule::changes_cells) {
    if (are_planes(p)) return reduce_planes(p, threads, x, rule, y);
  }
  const auto rows = windows_of(p, p.h), columns = windows_of(p, p.w);
  const Index band = rows_of_band(p), bands = ceil_div(p.h.out, band), total = p.planes() * bands;
  const Index task_cells = static_cast<Index>(cells_of_task / joins_of_cell(p));
  const Index task_bands = ceil_div(task_cells, cells_of_output_row(p) * band);
  const Index rows_at_once = HorizontalPass<Rule>::rows_at_once(p);
  const Index planes_at_once = bands == 1 ? std::max<Index>(1, rows_at_once / p.h.out) : 1;
  const Index scratch_bytes = VerticalPass<T, Rule>::scratch_bytes(p) +
                              HorizontalPass<Rule>::scratch_bytes(p) +
                              RowDivision<Value>::scratch_bytes(p, rows_at_once) +
                              Scratch::bytes<Value>(rows_at_once * p.out_row());
  const PlanePass<T, Rule> in_registers(p, rule, x, rows, columns);
  parallel_for(threads, ceil_div(total, task_bands), [&](Index task) {
    Scratch scratch(scratch_bytes);
    VerticalPass<T, Rule> vertical(p, rule, rows, scratch);
    HorizontalPass<Rule> horizontal(p, rule, columns, scratch);
    RowDivision<Value> division(p, rows, columns, rows_at_once, scratch);
    Value* joined = scratch.take<Value>(rows_at_once * p.out_row());
    const Index end = std::min((task + 1) * task_bands, total);
    for (Index i = task * task_bands, planes; i < end; i += planes) {
      planes = std::min(planes_at_once, end - i);
      const Index plane = i / bands, first = i % bands * band;
      const Index last = std::min(first + band, p.h.out);
      const auto image_at = [&](Index k) {
        return x.from((plane + k) / p.channels, (plane + k) % p.channels);
      };
      const auto place_of = [&](Index k, Index oh) {
        return ((plane + k) * p.h.out + oh) * p.out_row();
      };
      bool done = true;
      for (Index k = 0; done && k < planes; ++k) {
        done = in_registers.join(image_at(k), {first, last}, y + place_of(k, first));
      }
      if (done && !in_registers.finishes()) continue;
      for (Index oh = first, count; oh < last; oh += count) {
        count = std::min(rows_at_once, last - oh);
        const Index offset = place_of(0, oh);
        Value* values = place_of_values(rule, y + offset, joined);
        if (!done) {
          join_rows(planes, image_at, oh == first, oh, count, p.out_row(), rule, vertical, horizontal,
                    values);
        }
        if (!rule.finishes()) continue;
        const auto row_at = [&](Index i) {
          return OutputRow<T>{image_at(i / count), rows[static_cast<std::size_t>(oh + i % count)],
                              columns, offset + i * p.out_row()};
        };
        rule.finish(planes * count, row_at, division, values, y + offset);
      }
    }
  });
}

template <class T>
void sum(const Pool2d& p, int threads, const View<T>& x, bool is_mean, T* y) {
  if constexpr (std::is_same_v<T, float>) {
    if (!narrow_sums(p)) return reduce(p, threads, x, SumRule<T, double>(p, is_mean), y);
  }
  reduce(p, threads, x, SumRule<T, T>(p, is_mean), y);
}

}  // namespace

double joins_of_cell(const Pool2d& p) {
  const auto joins = [](const Axis& a) {
    const bool overlap = a.out > 1 && a.kernel > a.stride;
    return overlap ? std::log2(static_cast<double>(a.kernel)) : 1;
  };
  return (joins(p.h) + joins(p.w)) / 2;
}

// x (N, C, H, W), y, indices (N, C, oh, ow): first extremum or first NaN of each window
template <class T>
void extremum_pool2d(const Pool2d& p, int threads, Extremum extremum, const View<T>& x, T* y,
                     Index* indices) {
  reduce(p, threads, x, ExtremumRule<T>(p, extremum, indices), y);
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
