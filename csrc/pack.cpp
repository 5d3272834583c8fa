#include "pack.hpp"

#include <cassert>
#include <cstring>

namespace convpool {
namespace {

// Calls run(oh, columns) for each piece of an output row in a range of flat pixels.
template <class Run>
void for_each_row(Range pixels, Index width, Run run) {
  for (Index pixel = pixels.begin; pixel < pixels.end;) {
    const Index oh = pixel / width, ow = pixel % width;
    const Index end = std::min(width, ow + pixels.end - pixel);
    run(oh, Range{ow, end});
    pixel += end - ow;
  }
}

Range intersection(Range a, Range b) {
  const Index begin = std::clamp(a.begin, b.begin, b.end);
  return {begin, std::clamp(a.end, begin, b.end)};
}

// Calls row(plane, ih, tap_row, kw, inside, columns) for every tap and every piece of an output
// row: the loops that writing columns and adding them back have in common. ih may lie outside.
template <class Row>
void for_each_tap_row(const Conv2d& p, Range pixels, Row row) {
  Index k = 0;
  for (Index ic = 0; ic < p.group_in(); ++ic) {
    for (Index kh = 0; kh < p.h.kernel; ++kh) {
      for (Index kw = 0; kw < p.w.kernel; ++kw, ++k) {
        const Range inside = outputs_inside(p.w, kw);
        for_each_row(pixels, p.w.out, [&](Index oh, Range columns) {
          const Index ih = p.h.cell(oh, kh);
          const bool row_inside = ih >= 0 && ih < p.h.in;
          const Range copied = row_inside ? intersection(inside, columns)
                                          : Range{columns.begin, columns.begin};
          row(k, ic, ih, kw, oh, columns, copied);
        });
      }
    }
  }
}

}  // namespace

template <class T>
void write_columns(const Conv2d& p, const T* x, Range pixels, T* cols, Index ld) {
  const T pad = static_cast<T>(p.pad_value);
  const auto write = [&](Index k, Index ic, Index ih, Index kw, Index oh, Range columns,
                         Range copied) {
    T* to = cols + k * ld + oh * p.w.out - pixels.begin;
    std::fill(to + columns.begin, to + copied.begin, pad);
    if (copied.size() > 0) {
      const T* from = x + ic * p.in_plane() + ih * p.w.in + p.w.cell(copied.begin, kw);
      if (p.w.stride == 1) {
        std::memcpy(to + copied.begin, from, copied.size() * sizeof(T));
      } else {
        for (Index ow = copied.begin; ow < copied.end; ++ow, from += p.w.stride) to[ow] = *from;
      }
    }
    std::fill(to + copied.end, to + columns.end, pad);
  };
  for_each_tap_row(p, pixels, write);
}

template <class T>
void add_columns(const Conv2d& p, const T* cols, Index ld, Range pixels, T* dx) {
  const auto add = [&](Index k, Index ic, Index ih, Index kw, Index oh, Range, Range copied) {
    if (copied.size() == 0) return;
    const T* from = cols + k * ld + oh * p.w.out - pixels.begin;
    T* to = dx + ic * p.in_plane() + ih * p.w.in + p.w.cell(copied.begin, kw);
    if (p.w.stride == 1) {
      from += copied.begin;
      for (Index i = 0; i < copied.size(); ++i) to[i] += from[i];
    } else {
      for (Index ow = copied.begin; ow < copied.end; ++ow, to += p.w.stride) *to += from[ow];
    }
  };
  for_each_tap_row(p, pixels, add);
}

namespace {

// Panels of a width that the compiler knows, which makes packing three times as fast.
template <int width, class T>
void pack_full_panel(const Matrix<T>& matrix, Index depth, T* panel) {
  const T* from = matrix.data;
  for (Index k = 0; k < depth; ++k, from += matrix.row_stride, panel += width) {
    if (matrix.col_stride == 1) {
      std::memcpy(panel, from, width * sizeof(T));
    } else {
      for (int j = 0; j < width; ++j) panel[j] = from[j * matrix.col_stride];
    }
  }
}

template <class T>
void pack_panel(const Matrix<T>& matrix, Index depth, Index used, Index width, T* panel) {
  for (Index k = 0; k < depth; ++k, panel += width) {
    for (Index j = 0; j < used; ++j) panel[j] = *matrix.at(k, j);
    std::fill(panel + used, panel + width, T(0));
  }
}

}  // namespace

template <class T>
void pack_panels(const Matrix<T>& matrix, Index depth, Index count, Index width, T* panels) {
  for (Index first = 0; first < count; first += width, panels += depth * width) {
    const Matrix<T> columns{matrix.at(0, first), matrix.row_stride, matrix.col_stride};
    const Index used = std::min(width, count - first);
    switch (used == width ? width : 0) {
      case 4: pack_full_panel<4>(columns, depth, panels); break;
      case 6: pack_full_panel<6>(columns, depth, panels); break;
      case 8: pack_full_panel<8>(columns, depth, panels); break;
      case 12: pack_full_panel<12>(columns, depth, panels); break;
      case 16: pack_full_panel<16>(columns, depth, panels); break;
      case 32: pack_full_panel<32>(columns, depth, panels); break;
      default: pack_panel(columns, depth, used, width, panels);
    }
  }
}

#define INSTANTIATE(T)                                                                \
  template void write_columns(const Conv2d&, const T*, Range, T*, Index);             \
  template void add_columns(const Conv2d&, const T*, Index, Range, T*);               \
  template void pack_panels(const Matrix<T>&, Index, Index, Index, T*);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace convpool
