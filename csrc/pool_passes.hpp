// The two passes of a pool: the rows of a window joined down each column of the image, then the
// columns of the window. Both run along rows of memory.
//
//        x                    values of each column             y
//   |==========|                     |
//   |==========|   vertical pass     v         horizontal pass
//   |==========|  ---------------> |==========|  -----------> |====|
//
// A rule says how cells join:
//
//   Value, identity            what is joined, and what changes nothing
//   overlaps                   whether a cell may be joined twice
//   changes_cells              whether value() does
//   value(cell), join(a, b)    one cell
//   joining(finite)            kernels for rows of values, finite ones only or any
//   join_cells(finite)         kernel for rows of the image
//   gains_by_finite_cells()    whether kernels for finite values are faster
#pragma once

#include <type_traits>

#include "kernels.hpp"
#include "scratch.hpp"
#include "view.hpp"
#include "windows.hpp"

namespace convpool {

// Neighbouring windows share rows. Tall windows share work too: rows since a split are joined as
// they come, rows before it once from the split backwards, and a window joins one row of each.
// A row costs three operations, however tall the windows, nothing is ever subtracted, and a NaN
// stays in its windows.
//
//         |  suffixes up to the split: d, cd, bcd, abcd
//       a |
//       b |  |
//       c |  |  |
//       d |  |  |     window b..f = bcd + ef
//    ---- split --
//       e    |  |
//       f    |  |  prefixes from the split: e, ef, efg
//       g       |
template <class T, class Rule>
class VerticalPass {
 public:
  using Value = typename Rule::Value;

  static Index scratch_bytes(const Pool2d& p) {
    return 3 * Scratch::bytes<Value>(p.in_row()) + Scratch::bytes<Value>(suffix_cells(p));
  }

  VerticalPass(const Pool2d& p, const Rule& rule, const std::vector<Window>& windows,
               Scratch& scratch)
      : p_(p), rule_(rule), windows_(windows), slides_(slides(p)), overlap_(overlap(p)) {
    spare_ = scratch.take<Value>(p.in_row());
    for (Value*& prefix : prefixes_) prefix = scratch.take<Value>(p.in_row());
    suffixes_ = scratch.take<Value>(suffix_cells(p));
  }

  // The image of the next windows, which come from the top down.
  void start(const View<T>& image) {
    image_ = image;
    split_ = end_ = shown_cells(p_, p_.h).begin;
    rows_are_cells_ = !Rule::changes_cells && image.w == p_.depth;
    whole_ = rows_are_cells_ ? whole_windows_ : Range{0, 0};
    finite_ = rows_are_cells_ && overlap_ && rule_.gains_by_finite_cells();
    checked_ = p_.h.data().begin;
  }

  // For the next output rows, oh, oh + 1, ... Returns whether their cells are known to be finite.
  bool choose_kernels(Index oh, Index count) {
    const Range cells = p_.h.data();
    const Index begin = std::max(checked_, p_.h.cell(oh, 0));
    const Index end = std::min(cells.end, p_.h.cell(oh + count - 1, p_.h.kernel - 1) + 1);
    if (finite_ && begin < end) {
      finite_ = are_finite(begin, end);
      checked_ = end;
    }
    joining_ = &rule_.joining(finite_);
    return finite_;
  }

  // values (in_row), `step` after each other, of output rows oh, oh + 1, ...
  void join(Index oh, Index count, Value* values, Index step) {
    for (const Index end = oh + count; oh < end;) {
      const Window& window = windows_[static_cast<std::size_t>(oh)];
      Index joined = 1;
      if (whole_.begin <= oh && oh < whole_.end) {
        joined = std::min(end, whole_.end) - oh;
        join_whole(oh, {joined, p_.in_row(), p_.h.kernel, p_.h.stride * image_.h, step},
                   rule_.join_cells(finite_), values);
      } else if (window.taps.size() == 0) {
        std::fill_n(values, p_.in_row(), rule_.identity);
      } else if (slides_) {
        join_sliding(window.cell(window.taps.begin), window.cell(window.taps.end), values);
      } else {
        join_all(window, values);
      }
      oh += joined;
      values += joined * step;
    }
  }

  // Whether windows, two columns each, side by side in the image, can be joined in one pass: with
  // 2x2 that takes two thirds of the time of two.
  bool joins_pairs(Index oh, Index count) const {
    return std::is_same_v<T, Value> && !p_.adaptive && p_.depth == 1 && p_.w.kernel == 2 && p_.w.stride == 2 &&
           p_.w.dilation == 1 && p_.w.pad_before == 0 && 2 * p_.w.out <= p_.w.data().end &&
           whole_.begin <= oh && oh + count <= whole_.end;
  }

  // out (count, w.out)
  void join_pairs(Index oh, Index count, Value* out) {
    if constexpr (std::is_same_v<T, Value>) {
      join_whole(oh, {count, p_.w.out, p_.h.kernel, p_.h.stride * image_.h, p_.w.out},
                 joining_->pairs, out);
    }
  }

 private:
  static constexpr Index most_rows = 64;  // of one call of a kernel
  static constexpr Index most_suffix_bytes = 8 << 20;

  // Output rows whose windows lie inside the image, so that one call of a kernel joins several.
  static Range whole_windows(const Pool2d& p) {
    if (slides(p) || p.adaptive || p.h.kernel > most_rows) return {0, 0};
    const Range cells = p.h.data();
    return {outputs_reading(p.h, 0, cells).begin, outputs_reading(p.h, p.h.kernel - 1, cells).end};
  }

  static Index tallest(const Pool2d& p) {
    return std::min(p.h.kernel, shown_cells(p, p.h).size());
  }
  // Measured: three operations a row and their stores pay from seven rows on.
  static bool slides(const Pool2d& p) {
    return !p.adaptive && p.h.dilation == 1 && p.h.kernel > 6 * p.h.stride &&
           tallest(p) <= most_suffix_bytes / Index{sizeof(Value)} / std::max<Index>(p.in_row(), 1);
  }
  static Index suffix_cells(const Pool2d& p) { return slides(p) ? tallest(p) * p.in_row() : 0; }

  // Whether windows share cells, and show none but the data. Then looking for NaN beforehand pays:
  // a cell is looked at once, but joined several times, in one instruction instead of three.
  static bool overlap(const Pool2d& p) {
    return !p.adaptive && (p.h.kernel > p.h.stride || p.w.kernel > p.w.stride) &&
           shown_cells(p, p.h).size() == p.h.data().size();
  }

  bool are_finite(Index begin, Index end) const {
    const Index rows = end - begin;
    if (image_.h == p_.in_row()) return rule_.all_finite(rows * p_.in_row(), image_.at(0, 0, begin));
    bool finite = true;
    for (Index row = begin; row < end; ++row) {
      finite = finite && rule_.all_finite(p_.in_row(), image_.at(0, 0, row));
    }
    return finite;
  }

  const T* cells(Index row) const { return image_.at(0, 0, shown_cell(p_.h, row)); }

  void join_whole(Index oh, const JoinShape& shape, JoinRows<T, Value> join, Value* values) {
    const T* pointers[most_rows];
    for (Index tap = 0; tap < p_.h.kernel; ++tap) {
      pointers[tap] = image_.at(0, 0, p_.h.cell(oh, tap));
    }
    join(shape, pointers, values);
  }

  void join_all(const Window& rows, Value* values) {
    const Index at_once = rows_are_cells_ ? most_rows : 1;
    const Value* joined = nullptr;
    for (Index tap = rows.taps.begin; tap < rows.taps.end; tap += at_once) {
      const Index count = std::min(at_once, rows.taps.end - tap);
      const bool last = tap + count == rows.taps.end;
      Value* part = joined ? spare_ : last ? values : prefixes_[0];
      if (rows_are_cells_) {
        const T* pointers[most_rows];
        for (Index i = 0; i < count; ++i) pointers[i] = cells(rows.cell(tap + i));
        rule_.join_cells(finite_)({1, p_.in_row(), count, 0, 0}, pointers, part);
      } else {
        read(rows.cell(tap), part);
      }
      if (joined) {
        Value* both = last ? values : prefixes_[joined == prefixes_[0]];
        join_pair(joined, part, both);
        joined = both;
      } else {
        joined = part;
      }
    }
  }

  void join_sliding(Index begin, Index end, Value* values) {
    if (begin >= split_) {
      split_ = end_ = end;
      begin_ = begin;
      for (Index row = end - 1; row >= begin; --row) {
        Value* suffix = suffix_from(row);
        if (row == end - 1) {
          copy(read(row, suffix), suffix);
        } else {
          join_pair(read(row, spare_), suffix_from(row + 1), suffix);
        }
      }
    }
    for (; end_ < end; ++end_) {
      Value* next = prefixes_[prefix_ == prefixes_[0]];
      if (end_ == split_) {
        copy(read(end_, next), next);
      } else {
        join_pair(prefix_, read(end_, spare_), next);
      }
      prefix_ = next;
    }
    if (end_ == split_) {
      copy(suffix_from(begin), values);
    } else {
      join_pair(suffix_from(begin), prefix_, values);
    }
  }

  void copy(const Value* from, Value* to) const {
    if (from != to) std::copy_n(from, p_.in_row(), to);
  }

  Value* suffix_from(Index row) { return suffixes_ + (row - begin_) * p_.in_row(); }

  void join_pair(const Value* a, const Value* b, Value* values) {
    const Value* const pair[] = {a, b};
    joining_->every({1, p_.in_row(), 2, 0, 0}, pair, values);
  }

  // One row as values: the image's own, or written to `values`.
  const Value* read(Index row, Value* values) {
    const T* from = cells(row);
    if (!rows_are_cells_) {
      const Index step = image_.w / p_.depth;
      for (Index i = 0; i < p_.in_row(); ++i) values[i] = rule_.value(from[i * step]);
      return values;
    }
    if constexpr (std::is_same_v<T, Value>) {
      return from;
    } else {
      rule_.join_cells(finite_)({1, p_.in_row(), 1, 0, 0}, &from, values);
      return values;
    }
  }

  const Pool2d& p_;
  const Rule& rule_;
  const std::vector<Window>& windows_;
  const bool slides_, overlap_;
  const Range whole_windows_ = whole_windows(p_);
  bool rows_are_cells_ = false;
  bool finite_ = false;  // all rows looked at in this image
  Index checked_ = 0;    // the first row that was not
  const Joining<Value>* joining_ = nullptr;
  View<T> image_{};
  Range whole_{0, 0};
  Index begin_ = 0, split_ = 0, end_ = 0;
  Value *spare_, *prefixes_[2], *prefix_ = nullptr, *suffixes_;
};

// One row of values becomes a row of windows. The padding stands beside the values, so that no
// window is a special case:
//
//     padding       w.in        padding
//   |----------|==============|---------|
//   |-----|                               windows
//       |-----|
//
// Wide windows are made of windows of 2, 4, 8, ... cells, each level of two of the one before.
template <class Rule>
class HorizontalPass {
 public:
  using Value = typename Rule::Value;

  // How many rows to join at a time, which saves calls: with eight rows of 112 cells a pool takes two
  // thirds of the time that it takes row by row, and more rows of small images.
  static Index rows_at_once(const Pool2d& p) {
    constexpr Index most_rows = 64, most_bytes = 8 << 10;
    return std::clamp<Index>(most_bytes / (line_size(p) * Index{sizeof(Value)} + 1), 1, most_rows);
  }

  static Index scratch_bytes(const Pool2d& p) {
    return (2 + levels(p)) * Scratch::bytes<Value>(rows_at_once(p) * line_size(p));
  }

  HorizontalPass(const Pool2d& p, const Rule& rule, const std::vector<Window>& windows,
                 Scratch& scratch)
      : p_(p), rule_(rule), windows_(windows), regular_(is_regular(p)), at_(p.w),
        line_size_(line_size(p)), top_(levels(p)) {
    const Index size = rows_at_once(p) * line_size_;
    line_ = scratch.take<Value>(size);
    spare_ = scratch.take<Value>(size);
    values_ = line_ - (regular_ ? at_.begin * p.depth : 0);
    level_[0] = values_ + p.w.cell(0, 0) * p.depth;
    for (Index i = 1; i <= top_; ++i) level_[i] = scratch.take<Value>(size);
    if (regular_) choose_pieces();
  }

  // Where values (in_row) of a row go; a call of join() reads them. The padding is there from the first call
  // on: where kernels need no passes, writing it took a twentieth of the time.
  Value* values(Index row) {
    if (!has_padding_) std::fill_n(line_, rows_at_once(p_) * line_size_, rule_.identity);
    has_padding_ = true;
    return values_ + row * line_size_;
  }
  Index line_size() const { return line_size_; }

  // Whether windows are the values themselves.
  bool copies() const {
    return regular_ && p_.w.kernel == 1 && p_.w.stride == 1 && p_.w.cell(0, 0) == 0 &&
           p_.w.out == p_.w.in;
  }

  // out (rows, out_row)
  void join(const Joining<Value>& joining, Index rows, Value* out) {
    if (!regular_) {
      for (Index row = 0; row < rows; ++row) join_each(joining, values(row), out + row * p_.out_row());
      return;
    }
    const Axis& axis = p_.w;
    const Index depth = p_.depth;
    for (Index row = 0; !shows_data_ && row < rows; ++row) show_padding(values(row));
    for (Index i = 1, width = 1; i <= top_; ++i, width *= 2) {
      const Index numbers = (at_.span - (2 * width - 1) * axis.dilation) * depth;
      const Value* const pair[] = {level_[i - 1], level_[i - 1] + width * axis.dilation * depth};
      joining.every({rows, numbers, 2, line_size_, line_size_}, pair, level_[i]);
    }
    if (axis.stride == 1 || (axis.stride == 2 && depth == 1)) {
      const auto join = axis.stride == 1 ? joining.every : joining.every_second;
      join({rows, p_.out_row(), piece_count_, line_size_, p_.out_row()}, pieces_, out);
      return;
    }
    if (depth > 1) {
      const Value* pieces[most_levels];
      for (Index row = 0; row < rows; ++row, out += p_.out_row()) {
        for (Index i = 0; i < piece_count_; ++i) pieces[i] = pieces_[i] + row * line_size_;
        joining.every({axis.out, depth, piece_count_, axis.stride * depth, depth}, pieces, out);
      }
      return;
    }
    const Index cells = (axis.out - 1) * axis.stride + 1;
    joining.every({rows, cells, piece_count_, line_size_, line_size_}, pieces_, spare_);
    for (Index row = 0; row < rows; ++row, out += axis.out) {
      const Value* from = spare_ + row * line_size_;
      for (Index ow = 0; ow < axis.out; ++ow) out[ow] = from[ow * axis.stride];
    }
  }

 private:
  // Measured: up to six taps are joined one by one faster.
  static constexpr Index most_single_taps = 6;
  static constexpr int most_levels = 48;

  struct Layout {
    explicit Layout(const Axis& axis)
        : span((axis.out - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1),
          begin(std::min<Index>(0, axis.cell(0, 0))),
          end(std::max(axis.in, axis.cell(0, 0) + span)) {}
    Index span;        // cells that windows reach
    Index begin, end;  // of those and of the image
  };

  // Not the windows of an adaptive pool, nor windows that see little but padding.
  static bool is_regular(const Pool2d& p) {
    const Layout at(p.w);
    return !p.adaptive && at.end - at.begin <= 4 * (p.w.in + p.w.out) + 64;
  }

  // The kernel of stride 2 reads one cell more than it joins.
  static Index line_size(const Pool2d& p) {
    const Layout at(p.w);
    return (is_regular(p) ? at.end - at.begin + 1 : p.w.in) * p.depth;
  }

  static Index levels(const Pool2d& p) {
    Index count = 0;
    if (is_regular(p) && p.w.kernel > most_single_taps) {
      while (p.w.kernel >> (count + 1)) ++count;
    }
    return count;
  }

  void choose_pieces() {
    const Axis& axis = p_.w;
    const auto add = [&](Index level, Index tap) {
      pieces_[piece_count_++] = level_[level] + tap * axis.dilation * p_.depth;
    };
    if (top_ == 0) {
      for (Index tap = 0; tap < axis.kernel; ++tap) add(0, tap);
    } else if (Rule::overlaps) {
      add(top_, 0);
      add(top_, axis.kernel - (Index{1} << top_));
    } else {
      Index tap = 0;
      for (Index level = top_; level >= 0; --level) {
        if (axis.kernel >> level & 1) {
          add(level, tap);
          tap += Index{1} << level;
        }
      }
    }
  }

  void show_padding(Value* values) {
    const Axis& axis = p_.w;
    const Index depth = p_.depth, end = std::min(shown_.end, at_.end);
    const auto show = [&](Range cells) {
      for (Index cell = cells.begin; cell < cells.end; ++cell) {
        std::copy_n(values + shown_cell(axis, cell) * depth, depth, values + cell * depth);
      }
    };
    show({shown_.begin, 0});
    show({axis.in, end});
    if (end < axis.in) std::fill(values + end * depth, values + axis.in * depth, rule_.identity);
  }

  // Windows of different sizes, or that see little but padding. Those inside the row, which all of an adaptive
  // pool are, do not ask what each cell shows: 1.3x.
  void join_each(const Joining<Value>& joining, const Value* values, Value* out) {
    for (const Window& window : windows_) {
      const Index count = window.taps.size(), first = window.cell(window.taps.begin);
      if (count == 0) {
        std::fill_n(out, p_.depth, rule_.identity);
      } else if (first >= 0 && window.cell(window.taps.end - 1) < p_.w.in) {
        const Value* const from = values + first * p_.depth;
        const Index step = window.step * p_.depth;
        join_window(joining, count, [&](Index tap) { return from + tap * step; }, out);
      } else {
        join_window(joining, count, [&](Index tap) {
          return values + shown_cell(p_.w, first + tap * window.step) * p_.depth;
        }, out);
      }
      out += p_.depth;
    }
  }

  // cell(tap) is where the channels of a cell begin. A kernel takes 1/5 of the time for 64 of them.
  template <class Cell>
  void join_window(const Joining<Value>& joining, Index count, const Cell& cell, Value* out) {
    constexpr Index most_cells = 64;
    if (p_.depth > 1 && count <= most_cells) {
      const Value* cells[most_cells];
      for (Index tap = 0; tap < count; ++tap) cells[tap] = cell(tap);
      joining.every({1, p_.depth, count, 0, 0}, cells, out);
      return;
    }
    for (Index c = 0; c < p_.depth; ++c) {
      Value value = cell(0)[c];
      for (Index tap = 1; tap < count; ++tap) value = rule_.join(value, cell(tap)[c]);
      out[c] = value;
    }
  }

  const Pool2d& p_;
  const Rule& rule_;
  const std::vector<Window>& windows_;
  const bool regular_;
  const Layout at_;
  const Index line_size_, top_;
  const Range shown_ = shown_cells(p_, p_.w);
  const bool shows_data_ = shown_.begin == 0 && shown_.end == p_.w.in;  // as it stands
  Value *line_, *values_;
  bool has_padding_ = false;
  Value* spare_;
  Value* level_[most_levels];
  const Value* pieces_[most_levels];
  Index piece_count_ = 0;
};

}  // namespace convpool
