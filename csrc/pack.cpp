#include "pack.hpp"

#include <cassert>
#include <cstring>

namespace convpool {
namespace {

// Calls run(oh, columns) for each piece of an output row in a range of flat pixels.
template <class Run>
void for_each_row(Range pixels, Index width, Run run) {
  if (pixels.size() == 0) return;
  Index oh = pixels.begin / width, ow = pixels.begin % width;
  for (Index left = pixels.size(); left > 0; ++oh, ow = 0) {
    const Index end = std::min(width, ow + left);
    run(oh, Range{ow, end});
    left -= end - ow;
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

// Two copies of a fixed size that overlap in the middle: for 7 floats 5x as fast as a call.
template <std::size_t size>
void copy_both_ends(const char* from, std::size_t bytes, char* to) {
  char first[size], last[size];
  std::memcpy(first, from, size);
  std::memcpy(last, from + bytes - size, size);
  std::memcpy(to, first, size);
  std::memcpy(to + bytes - size, last, size);
}

void copy_bytes(const void* source, std::size_t bytes, void* target) {
  const char* from = static_cast<const char*>(source);
  char* to = static_cast<char*>(target);
  if (bytes > 64) std::memcpy(to, from, bytes);
  else if (bytes >= 32) copy_both_ends<32>(from, bytes, to);
  else if (bytes >= 16) copy_both_ends<16>(from, bytes, to);
  else if (bytes >= 8) copy_both_ends<8>(from, bytes, to);
  else if (bytes >= 4) copy_both_ends<4>(from, bytes, to);
}

// The strides that layers have are worth loops of their own: 2x for a first layer with stride 2.
template <class T>
void copy_strided(const T* from, Index stride, Index count, T* to) {
  if (stride == 1) {
    copy_bytes(from, count * sizeof(T), to);
  } else if (stride == 2) {
    for (Index i = 0; i < count; ++i) to[i] = from[2 * i];
  } else {
    for (Index i = 0; i < count; ++i) to[i] = from[stride * i];
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
      copy_strided(from, p.w.stride, copied.size(), to + copied.begin);
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

// `used` of the panel's columns exist.
template <class T>
void pack_panel(const Matrix<T>& matrix, Index depth, Index used, Index width, T* panel) {
  switch (used == width ? width : 0) {
    case 4: return pack_full_panel<4>(matrix, depth, panel);
    case 6: return pack_full_panel<6>(matrix, depth, panel);
    case 8: return pack_full_panel<8>(matrix, depth, panel);
    case 12: return pack_full_panel<12>(matrix, depth, panel);
    case 16: return pack_full_panel<16>(matrix, depth, panel);
    case 32: return pack_full_panel<32>(matrix, depth, panel);
  }
  for (Index k = 0; k < depth; ++k, panel += width) {
    copy_strided(matrix.at(k, 0), matrix.col_stride, used, panel);
    std::fill(panel + used, panel + width, T(0));
  }
}

}  // namespace

template <class T>
void pack_panels(const Matrix<T>& matrix, Index depth, Index count, Index width, T* panels) {
  // Row-major matrices are read a few whole rows at a time, which the prefetcher follows; down one
  // panel it would meet a new page with every row.
  const Index slice = matrix.col_stride == 1 ? 8 : depth;
  for (Index k = 0; k < depth; k += slice) {
    const Index rows = std::min(slice, depth - k);
    for (Index first = 0; first < count; first += width) {
      const Matrix<T> columns{matrix.at(k, first), matrix.row_stride, matrix.col_stride};
      pack_panel(columns, rows, std::min(width, count - first), width,
                 panels + first * depth + k * width);
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
