#include "copies.hpp"
#include "pool2d.hpp"
#include "pool_passes.hpp"
#include "pool_rules.hpp"
#include "threads.hpp"

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

// Rows of cells that follow each other, as do the windows that show them: row first + i is shown by
// the rows windows[0] + step * i, windows[1] + step * i, ...
struct RowGroup {
  Index first, count, step;
  std::vector<Index> windows;

  // Those among `rows`, counted from the first one.
  Range rows_in(Range rows) const {
    return {std::max<Index>(rows.begin - first, 0), std::min(rows.end - first, count)};
  }
};

// Rows of cells, the groups that have some of them, and windows from the first to the last that show one.
struct Band {
  Range rows, groups, windows;
};

// What shows a row of cells twice, as mirrored padding may, is there twice.
std::vector<RowGroup> rows_that_show(const Pool2d& p, const std::vector<Window>& rows) {
  std::vector<std::vector<Index>> windows(static_cast<std::size_t>(p.h.in));
  for (std::size_t oh = 0; oh < rows.size(); ++oh) {
    for (Index tap = rows[oh].taps.begin; tap < rows[oh].taps.end; ++tap) {
      const Index ih = shown_cell(p.h, rows[oh].cell(tap));
      windows[static_cast<std::size_t>(ih)].push_back(static_cast<Index>(oh));
    }
  }
  std::vector<RowGroup> groups;
  const auto extends_last = [&](const std::vector<Index>& next) {
    if (groups.empty() || next.empty() || groups.back().windows.size() != next.size()) return false;
    RowGroup& group = groups.back();
    const Index distance = next[0] - group.windows[0];
    if (group.count == 1 && (distance == 0 || distance == 1)) group.step = distance;
    if (distance != group.step * group.count) return false;
    for (std::size_t i = 0; i < next.size(); ++i) {
      if (next[i] - group.windows[i] != distance) return false;
    }
    return true;
  };
  for (Index ih = 0; ih < p.h.in; ++ih) {
    std::vector<Index>& next = windows[static_cast<std::size_t>(ih)];
    if (extends_last(next)) {
      ++groups.back().count;
    } else {
      groups.push_back({ih, 1, 0, std::move(next)});
    }
  }
  return groups;
}

// dx[cell] = sum over the windows that show it of their shares, dy[window] / cells that count.
// First along the rows, then down the columns:
//
//        dy               shares of each column              dx
//      |====|                                           |==========|
//      |====|   spread      |==========|      join      |==========|
//               -------->   |==========|     ------->   |==========|
//
// Sums are in V, and in double where those are not finite.
template <class T, class V>
class AverageGradient {
 public:
  explicit AverageGradient(const Pool2d& p)
      : p_(p), rows_(windows_of(p, p.h)), columns_(windows_of(p, p.w)),
        groups_(rows_that_show(p, rows_)), reversed_(reversed(p)),
        reversed_columns_(windows_of(reversed_, reversed_.w)),
        bands_(bands_of(p, groups_)),
        most_windows_(most(groups_, [](const RowGroup& group) { return group.windows.size(); })),
        most_rows_(most(bands_, [](const Band& band) { return band.windows.size(); })),
        rows_at_once_(Horizontal::rows_at_once(reversed_)),
        planes_at_once_(bands() > 1 ? 1 : std::max<Index>(1, rows_at_once_ / std::max<Index>(1, p.h.out))),
        is_regular_(is_regular(p)), stand_apart_(is_regular_ && stand_apart(p.w)),
        adds_(!stand_apart_ || most_windows_ > 1) {}

  Index bands() const { return static_cast<Index>(bands_.size()); }

  // Bands begin ... end - 1 of all planes. Several small planes together, whose rows then take one call of a
  // kernel: planes of 17x17 take two thirds of the time.
  void run(Index begin, Index end, const T* dy, T* dx) const {
    Scratch scratch(scratch_bytes());
    const SumRule<V, V> rule(reversed_, false);
    Horizontal horizontal(reversed_, rule, reversed_columns_, scratch);
    RowDivision<V> division(p_, rows_, columns_, rows_at_once_, scratch);
    V* shares = scratch.take<V>(rows_at_once_ * p_.out_row());
    V* spread = scratch.take<V>(planes_at_once_ * most_rows_ * p_.in_row());
    V* row = scratch.take<V>(p_.in_row());
    const V** sources = scratch.take<const V*>(most_windows_);
    const Index windows = p_.h.out * p_.out_row(), cells = p_.h.in * p_.in_row();
    for (Index unit = begin, planes; unit < end; unit += planes) {
      planes = std::min(planes_at_once_, end - unit);
      const Index plane = unit / bands();
      const Band& band = bands_[static_cast<std::size_t>(unit % bands())];
      for (Index oh = 0, count, rows = planes * band.windows.size(); oh < rows; oh += count) {
        count = std::min(rows_at_once_, rows - oh);
        share(band.windows.begin + oh, count, dy + plane * windows, division, shares);
        spread_rows(count, shares, horizontal, rule, spread + oh * p_.in_row());
      }
      join_rows(planes, band, spread, row, sources, dx + plane * cells);
      if constexpr (std::is_same_v<V, float>) {
        if (!adds_) continue;
        const auto are_finite = static_cast<const ExtremumKernels<T>&>(active_kernels().pool).all_finite;
        const Index size = band.rows.size() * p_.in_row();
        const T* const joined = dx + plane * cells + band.rows.begin * p_.in_row();
        if (are_finite(planes * size, joined)) continue;
        for (Index i = 0; i < planes; ++i) {
          if (are_finite(size, joined + i * size)) continue;
          AverageGradient<T, double>(p_).run(unit + i, unit + i + 1, dy, dx);
        }
      }
    }
  }

 private:
  using Horizontal = HorizontalPass<SumRule<V, V>>;

  // Windows over a row of shares, `stride` apart, that join for each cell what it is shown by:
  //
  //   share[0]   0   share[1]   0   share[2]      stride 2
  //        |------------|                         kernel 3
  static Pool2d reversed(const Pool2d& p) {
    Pool2d reversed;
    reversed.w.in = p.w.out > 0 ? (p.w.out - 1) * p.w.stride + 1 : 0;
    reversed.w.kernel = p.w.kernel;
    reversed.w.dilation = p.w.dilation;
    reversed.w.pad_before = (p.w.kernel - 1) * p.w.dilation - p.w.pad_before;
    reversed.w.out = p.w.in;
    reversed.depth = p.depth;
    return reversed;
  }

  // Not where windows differ, are cut off inside the image, or see cells several times.
  static bool is_regular(const Pool2d& p) {
    const Range shown = shown_cells(p, p.w), data = p.w.data();
    return !p.adaptive && data.end == p.w.in && shown.begin == data.begin && shown.end == data.end;
  }

  // Whether windows inside the image share no cells: then shares are copied, nothing is joined. 1.5 to 2 times
  // as fast for 2x2 windows with stride 2.
  static bool stand_apart(const Axis& axis) {
    return (axis.kernel <= axis.stride || axis.out == 1) && axis.dilation == 1 && axis.out > 0 &&
           axis.cell(0, 0) == 0 && axis.cell(axis.out - 1, axis.kernel - 1) < axis.in;
  }

  // Bands of planes whose cells take more than this, so that shares stay in the second-level cache and threads
  // have some: the same for all V.
  static std::vector<Band> bands_of(const Pool2d& p, const std::vector<RowGroup>& groups) {
    constexpr Index band_bytes = 1 << 17;
    const Index fitting = band_bytes / Index{sizeof(T)} / p.in_row();
    const Index highest = p.adaptive ? p.h.in : std::min(std::max(fitting, 4 * p.h.kernel), p.h.in);
    const Index height = ceil_div(p.h.in, ceil_div(p.h.in, highest));
    std::vector<Band> bands;
    Index at = 0;  // the group of the next row
    for (Index ih = 0; ih < p.h.in; ih += height) {
      Band band{{ih, std::min(ih + height, p.h.in)}, {at, at}, {p.h.out, 0}};
      for (; at < static_cast<Index>(groups.size()); ++at) {
        const RowGroup& group = groups[static_cast<std::size_t>(at)];
        const Range rows = group.rows_in(band.rows);
        if (rows.size() <= 0) break;
        for (const Index window : group.windows) {
          band.windows.begin = std::min(band.windows.begin, window + group.step * rows.begin);
          band.windows.end = std::max(band.windows.end, window + group.step * (rows.end - 1) + 1);
        }
        band.groups.end = at + 1;
        if (rows.end < group.count) break;
      }
      if (band.windows.size() < 0) band.windows = {0, 0};
      bands.push_back(band);
    }
    // Several planes together, whose windows follow each other.
    if (bands.size() == 1) bands[0].windows = {0, p.h.out};
    return bands;
  }

  // The largest of some sizes.
  template <class Items, class Size>
  static Index most(const Items& items, Size size) {
    Index largest = 0;
    for (const auto& item : items) largest = std::max(largest, static_cast<Index>(size(item)));
    return largest;
  }

  Index scratch_bytes() const {
    return Horizontal::scratch_bytes(reversed_) + RowDivision<V>::scratch_bytes(p_, rows_at_once_) +
           Scratch::bytes<V>(rows_at_once_ * p_.out_row()) +
           Scratch::bytes<V>(planes_at_once_ * most_rows_ * p_.in_row()) +
           Scratch::bytes<V>(p_.in_row()) + Scratch::bytes<const V*>(most_windows_);
  }

  void share(Index oh, Index count, const T* dy, RowDivision<V>& division, V* shares) const {
    const auto row_at = [&](Index i) -> const Window& {
      return rows_[static_cast<std::size_t>((oh + i) % p_.h.out)];
    };
    const auto divisor = [&](const Window& row, const Window& column) {
      return divisor_of(p_, row, column);
    };
    const Index n = count * p_.out_row();
    const T* values = dy + oh * p_.out_row();
    const V* dividends = shares;
    if constexpr (std::is_same_v<T, V>) {
      dividends = values;
    } else {
      std::copy_n(values, n, shares);
    }
    if (division.divide(count, row_at, divisor, dividends, shares)) return;
    for (Index i = 0; i < n; ++i) {  // the kernel has NaN for infinity
      const Window& column = columns_[static_cast<std::size_t>(i % p_.out_row() / p_.depth)];
      shares[i] = static_cast<V>(values[i] / divisor(row_at(i / p_.out_row()), column));
    }
  }

  void spread_rows(Index count, const V* shares, Horizontal& horizontal, const SumRule<V, V>& rule,
                   V* spread) const {
    const Index depth = p_.depth;
    if (!is_regular_) {
      std::fill_n(spread, count * p_.in_row(), V(0));
      for (Index i = 0; i < count; ++i, shares += p_.out_row(), spread += p_.in_row()) {
        for_each_column(p_, columns_, [&](Index ow, Index iw) {
          for (Index c = 0; c < depth; ++c) spread[iw * depth + c] += shares[ow * depth + c];
        });
      }
      return;
    }
    // Others of single numbers are faster as vectors.
    const bool copies = depth > 1 || p_.w.out == 1 || (p_.w.kernel == 2 && p_.w.stride == 2);
    if (stand_apart_ && copies) return copy_apart(count, shares, spread);
    for (Index i = 0; i < count; ++i, shares += p_.out_row()) {
      V* line = horizontal.values(i);
      if (p_.w.stride == 1) {
        std::copy_n(shares, p_.out_row(), line);
        continue;
      }
      if (depth > 1) {
        copy_rows(shares, 1, depth, p_.w.out, depth, line, p_.w.stride * depth);
        continue;
      }
      Index ow = 0;
      for (; p_.w.stride == 2 && ow < p_.w.out - 1; ++ow) {
        // With the zero that stands there anyway these are vectors: a fifth of the whole time.
        line[2 * ow] = shares[ow];
        line[2 * ow + 1] = 0;
      }
      for (; ow < p_.w.out; ++ow) line[ow * p_.w.stride] = shares[ow];
    }
    horizontal.join(rule.joining(false), count, spread);
  }

  // Not inline: else what overlaps takes a tenth longer.
  [[gnu::noinline]] void copy_apart(Index count, const V* shares, V* spread) const {
    const Index out = p_.w.out, kernel = p_.w.kernel, depth = p_.depth, width = p_.in_row();
    const Index stride = out > 1 ? p_.w.stride : kernel;
    const bool in_pairs = depth == 1 && kernel == 2 && stride == 2, has_gaps = kernel < stride;
    if (in_pairs) kernels_of<V>().interleave_rows(shares, out, shares, out, count, out, spread, width);
    for (Index i = 0; i < count; ++i, shares += p_.out_row(), spread += width) {
      const Index written = has_gaps ? 0 : stride * p_.out_row();
      std::fill_n(spread + written, width - written, V(0));
      for (Index kw = 0; !in_pairs && kw < kernel; ++kw) {
        V* to = spread + kw * depth;
        if (depth > 1) copy_rows(shares, 1, depth, out, depth, to, stride * depth);
        for (Index ow = 0; depth == 1 && ow < out; ++ow) to[ow * stride] = shares[ow];
      }
    }
  }

  // A kernel joins the rows of a group, or one row in each of the planes, whichever are more.
  void join_rows(Index planes, const Band& band, const V* spread, V* row, const V** sources, T* dx) const {
    struct Steps {
      Index count, source, cells;
    };
    const auto join = static_cast<const SumKernels<V>&>(active_kernels().pool).sum.every;
    const Index width = p_.in_row();
    const Steps of_planes{planes, p_.h.out * width, p_.h.in * width};
    for (Index g = band.groups.begin; g < band.groups.end; ++g) {
      const RowGroup& group = groups_[static_cast<std::size_t>(g)];
      const Range rows = group.rows_in(band.rows);
      const Index size = static_cast<Index>(group.windows.size());
      const Steps of_rows{rows.size(), group.step * width, width};
      const Steps& inner = planes > rows.size() ? of_planes : of_rows;
      const Steps& outer = planes > rows.size() ? of_rows : of_planes;
      for (Index i = 0; i < outer.count; ++i) {
        T* cells = dx + (group.first + rows.begin) * width + i * outer.cells;
        for (Index k = 0; k < size; ++k) {
          const Index first = group.windows[static_cast<std::size_t>(k)] + group.step * rows.begin;
          const Index window = first - band.windows.begin;
          sources[k] = spread + window * width + i * outer.source;
        }
        if constexpr (std::is_same_v<T, V>) {
          if (size == 1) {
            copy_rows(sources[0], 1, inner.source, inner.count, width, cells, inner.cells);
            continue;
          }
          if (size > 0) {
            join({inner.count, width, size, inner.source, inner.cells}, sources, cells);
            continue;
          }
        }
        for (Index r = 0; r < inner.count; ++r, cells += inner.cells) {
          std::fill_n(row, width, V(0));
          if (size > 0) join({1, width, size, 0, 0}, sources, row);
          std::copy_n(row, width, cells);
          for (Index k = 0; k < size; ++k) sources[k] += inner.source;
        }
      }
    }
  }

  const Pool2d& p_;
  const std::vector<Window> rows_, columns_;
  const std::vector<RowGroup> groups_;
  const Pool2d reversed_;
  const std::vector<Window> reversed_columns_;
  const std::vector<Band> bands_;
  const Index most_windows_, most_rows_;  // of a cell, of a band
  const Index rows_at_once_, planes_at_once_;
  const bool is_regular_, stand_apart_;
  const bool adds_;  // several shares in a cell
};

template <class V, class T>
void run_planes(const Pool2d& p, int threads, const T* dy, T* dx) {
  constexpr Index cells_of_task = 1 << 14, most_tasks_of_thread = 16;
  const AverageGradient<T, V> gradient(p);
  const Index cells = p.h.in * p.in_row() + p.h.out * p.out_row(), units = p.planes() * gradient.bands();
  const Index at_once = std::max(ceil_div(cells_of_task, ceil_div(cells, gradient.bands())),
                                 ceil_div(units, most_tasks_of_thread * threads));
  parallel_for(threads, ceil_div(units, at_once), [&](Index task) {
    gradient.run(task * at_once, std::min((task + 1) * at_once, units), dy, dx);
  });
}

}  // namespace

// dy (N, C, oh, ow), dx (N, C, H, W); or both with channels last
template <class T>
void avg_pool2d_grad(const Pool2d& p, int threads, const T* dy, T* dx) {
  if (p.planes() == 0 || p.h.in == 0 || p.in_row() == 0) return;
  if (narrow_sums(p)) {
    run_planes<T>(p, threads, dy, dx);
  } else {
    run_planes<double>(p, threads, dy, dx);
  }
}

template void avg_pool2d_grad(const Pool2d&, int, const float*, float*);
template void avg_pool2d_grad(const Pool2d&, int, const double*, double*);

}  // namespace convpool
