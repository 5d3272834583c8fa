#include "pack.hpp"

#include <cstring>

#include "dispatch.hpp"
#include "numeric.hpp"

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

// Calls row(k, ic, ih, kw, oh, columns, inside) for every tap k and every piece of an output row:
// the loops that writing columns and adding them back have in common. Row ih of the image is the
// one that the tap reads, -1 for constant padding; `inside` are the columns that read its data.
template <class Row>
void for_each_tap_row(const Conv2d& p, Range channels, Range pixels, Row row) {
  Index k = 0;
  for (Index ic = channels.begin; ic < channels.end; ++ic) {
    for (Index kh = 0; kh < p.h.kernel; ++kh) {
      for (Index kw = 0; kw < p.w.kernel; ++kw, ++k) {
        const Range reading = outputs_inside(p.w, kw);
        for_each_row(pixels, p.w.out, [&](Index oh, Range columns) {
          const Index ih = shown_cell(p.h, p.h.cell(oh, kh));
          row(k, ic, ih, kw, oh, columns, intersection(reading, columns));
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
  else if (bytes >= 2) copy_both_ends<2>(from, bytes, to);
  else if (bytes == 1) *to = *from;
}

template <std::size_t size>
void copy_short_rows(const char* from, Index from_row, Index rows, std::size_t bytes, char* to,
                     Index to_row) {
  for (; rows > 0; --rows, from += from_row, to += to_row) copy_both_ends<size>(from, bytes, to);
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

// Rows of `count` elements, each `step` from the one before.
template <class T>
void copy_rows(const T* from, Index step, Index from_row, Index rows, Index count, T* to,
               Index to_row) {
  const std::size_t bytes = count * sizeof(T);
  if (step == 1 && bytes >= 32 && bytes <= 64) {
    // The rows of small images: the choice of a size would take as long as the copy.
    return copy_short_rows<32>(reinterpret_cast<const char*>(from), from_row * sizeof(T), rows,
                               bytes, reinterpret_cast<char*>(to), to_row * sizeof(T));
  }
  for (; rows > 0; --rows, from += from_row, to += to_row) copy_strided(from, step, count, to);
}

}  // namespace

template <class T>
void write_columns(const Conv2d& p, const View<T>& x, Range channels, Range pixels, T* cols,
                   Index ld) {
  const T pad = element_of<T>(p.pad_value);
  const auto write = [&](Index k, Index ic, Index ih, Index kw, Index oh, Range columns,
                         Range inside) {
    T* to = cols + k * ld + oh * p.w.out - pixels.begin;
    if (ih < 0) {
      std::fill(to + columns.begin, to + columns.end, pad);
      return;
    }
    const T* row = x.at(0, ic, ih);
    const auto write_padding = [&](Index begin, Index end) {
      for (Index ow = begin; ow < end; ++ow) {
        const Index iw = shown_cell(p.w, p.w.cell(ow, kw));
        to[ow] = iw < 0 ? pad : row[iw * x.w];
      }
    };
    write_padding(columns.begin, inside.begin);
    if (inside.size() > 0) {
      copy_strided(row + p.w.cell(inside.begin, kw) * x.w, p.w.stride * x.w, inside.size(),
                   to + inside.begin);
    }
    write_padding(inside.end, columns.end);
  };
  for_each_tap_row(p, channels, pixels, write);
}

PlaneLayout plane_layout(const Conv2d& p, Index band, Index slack) {
  const Index height = (band - 1) * p.h.stride + (p.h.kernel - 1) * p.h.dilation + 1;
  const Index width = (p.w.out - 1) * p.w.stride + (p.w.kernel - 1) * p.w.dilation + 1;
  const Index phase = ceil_div(width, p.w.stride) + slack, row = phase * p.w.stride;
  return {height, p.w.stride, phase, row, height * row};
}

PlaneLayout gather_layout(const Conv2d& p, Index band, Index line) {
  const Index height = (band - 1) * p.h.stride + (p.h.kernel - 1) * p.h.dilation + 1;
  const Index row = (p.w.out - 1) * p.w.stride + (p.w.kernel - 1) * p.w.dilation + 1;
  return {height, 1, row, row, (ceil_div(height * row, line) | 1) * line};
}

template <class T>
void write_planes(const Conv2d& p, const PlaneLayout& layout, const View<T>& x, Range channels,
                  Range rows, bool padding_is_there, T* planes) {
  const T pad = element_of<T>(p.pad_value);
  const bool constant = p.w.pad_mode == PadMode::constant;
  const Index phases = layout.phases, first_row = p.h.cell(rows.begin, 0);
  const Index used = plane_layout(p, rows.size(), 0).rows;
  const Range inside = intersection({-first_row, p.h.in - first_row}, {0, used});
  // Element t of a phase shows cell  phase - pad_before + t * phases;  these lie in the image.
  const auto elements_inside = [&](Index phase) {
    const Index first = phase - p.w.pad_before;
    return intersection({ceil_div(-first, phases), ceil_div(p.w.in - first, phases)},
                        {0, layout.phase});
  };
  const auto cell = [&](Index phase, Index t) { return phase - p.w.pad_before + t * phases; };
  const auto write_padding = [&](Index c, Index phase, Range copied, T* plane) {
    for (Index r = 0; r < used; ++r) {
      T* const row = plane + phase * layout.phase + r * layout.row;
      const Index ih = shown_cell(p.h, first_row + r);
      if (ih < 0) {
        std::fill_n(row, layout.phase, pad);
        continue;
      }
      const T* shown = x.at(0, c, ih);
      const auto write = [&](Index t, Index end) {
        for (; t < end; ++t) row[t] = constant ? pad : shown[shown_cell(p.w, cell(phase, t)) * x.w];
      };
      write(0, copied.begin);
      write(copied.end, layout.phase);
      if (r < inside.begin || r >= inside.end) {
        copy_strided(shown + cell(phase, copied.begin) * x.w, phases * x.w, copied.size(),
                     row + copied.begin);
      }
    }
  };

  for (Index c = channels.begin; c < channels.end; ++c, planes += layout.plane) {
    const T* const image = x.at(0, c, first_row + inside.begin);
    T* const to = planes + inside.begin * layout.row;
    for (Index phase = 0; phase < phases; ++phase) {
      const Range copied = elements_inside(phase);
      if (!(padding_is_there && constant)) write_padding(c, phase, copied, planes);
      Range copy = copied;
      if (phases == 2 && x.w == 1 && phase == 0) {
        // Both phases at once, twice as fast; what one has more than the other is left to copy_rows.
        const Range other = elements_inside(1);
        const Index count = std::min(copied.size(), other.size());
        const bool is_even = cell(0, copied.begin) < cell(1, other.begin);
        T *first = to + copied.begin, *second = to + layout.phase + other.begin;
        if (!is_even) std::swap(first, second);
        const Index from = std::min(cell(0, copied.begin), cell(1, other.begin));
        kernels_of<T>().deal_rows(image + from, x.h, inside.size(), count, first, second,
                                  layout.row);
      }
      if (phases == 2 && x.w == 1) {
        copy.begin += std::min(copied.size(), elements_inside(1 - phase).size());
      }
      copy_rows(image + cell(phase, copy.begin) * x.w, phases * x.w, x.h, inside.size(),
                copy.size(), to + phase * layout.phase + copy.begin, layout.row);
    }
  }
}

template <class T>
void add_columns(const Conv2d& p, const T* cols, Index ld, Range channels, Range pixels, T* dx) {
  const auto add = [&](Index k, Index ic, Index ih, Index kw, Index oh, Range columns,
                       Range inside) {
    if (ih < 0) return;
    const T* from = cols + k * ld + oh * p.w.out - pixels.begin;
    T* row = dx + ic * p.in_plane() + ih * p.w.in;
    const auto add_padding = [&](Index begin, Index end) {
      for (Index ow = begin; ow < end; ++ow) {
        const Index iw = shown_cell(p.w, p.w.cell(ow, kw));
        if (iw >= 0) row[iw] += from[ow];
      }
    };
    add_padding(columns.begin, inside.begin);
    if (inside.size() > 0) {
      T* to = row + p.w.cell(inside.begin, kw);
      from += inside.begin;
      if (p.w.stride == 1) {
        for (Index i = 0; i < inside.size(); ++i) to[i] += from[i];
      } else {
        for (Index i = 0; i < inside.size(); ++i) to[i * p.w.stride] += from[i];
      }
      from -= inside.begin;
    }
    add_padding(inside.end, columns.end);
  };
  for_each_tap_row(p, channels, pixels, add);
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
  if (matrix.row_stride == 1 && matrix.col_stride != 1) {
    kernels_of<T>().transpose_rows(matrix.data, matrix.col_stride, used, depth, panel, width);
    for (Index k = 0; k < depth && used < width; ++k) {
      std::fill(panel + k * width + used, panel + (k + 1) * width, T(0));
    }
    return;
  }
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

#define INSTANTIATE(T) \
  template void write_columns(const Conv2d&, const View<T>&, Range, Range, T*, Index);
FOR_EACH_TYPE(INSTANTIATE)
#undef INSTANTIATE

#define INSTANTIATE(T)                                                                \
  template void write_planes(const Conv2d&, const PlaneLayout&, const View<T>&, Range, Range, bool, \
                             T*);                                                     \
  template void add_columns(const Conv2d&, const T*, Index, Range, Range, T*);        \
  template void pack_panels(const Matrix<T>&, Index, Index, Index, T*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

}  // namespace convpool
