#include "planes.hpp"

#include "cache.hpp"
#include "copies.hpp"
#include "dispatch.hpp"
#include "numeric.hpp"

namespace convpool {

namespace {

// Cells of the padded axis that so many outputs in a row read.
Index extent(const Axis& axis, Index outputs) {
  return (outputs - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1;
}

// A single output of a row takes no step, and strides beyond the input are allowed.
Index phases_of(const Conv2d& p) { return p.w.out > 1 ? p.w.stride : 1; }

void append_taps(const Conv2d& p, const PlaneLayout& layout, Index channels, Range kernel_rows,
                 std::vector<std::ptrdiff_t>& offsets) {
  for (Index c = 0; c < channels; ++c) {
    for (Index kh = kernel_rows.begin; kh < kernel_rows.end; ++kh) {
      for (Index kw = 0; kw < p.w.kernel; ++kw) {
        offsets.push_back(c * layout.plane + layout.tap_offset(p, kh, kw));
      }
    }
  }
}

}  // namespace

double padded_cells(const Conv2d& p, Index slack) {
  const Index rows = extent(p.h, std::max<Index>(p.h.out, 1));
  const Index row = extent(p.w, std::max<Index>(p.w.out, 1));
  return static_cast<double>(rows) * static_cast<double>(row) + static_cast<double>(slack);
}

PlaneLayout plane_layout(const Conv2d& p, Index band, Index slack) {
  const Index rows = extent(p.h, band), phases = phases_of(p);
  const Index phase = ceil_div(extent(p.w, p.w.out), phases), row = phase * phases;
  return {rows, phases, phase, row, odd_lines(rows * row + slack, slack)};
}

PlaneLayout gather_layout(const Conv2d& p, Index band, Index line) {
  const Index rows = extent(p.h, band), row = extent(p.w, p.w.out);
  return {rows, 1, row, row, odd_lines(rows * row, line)};
}

PlaneLayout cell_layout(const Conv2d& p, Index band, Index line) {
  const Index columns = extent(p.w, p.w.out), channels = p.group_in();
  const Index cell = channels % (8 * line) == 0 ? channels + line : channels;
  return {extent(p.h, band), 1, columns, columns * cell, 1, cell};
}

std::vector<std::ptrdiff_t> tap_offsets(const Conv2d& p, const PlaneLayout& layout, Index channels) {
  std::vector<std::ptrdiff_t> offsets;
  offsets.reserve(static_cast<std::size_t>(channels * p.window()));
  append_taps(p, layout, channels, {0, p.h.kernel}, offsets);
  return offsets;
}

std::vector<std::ptrdiff_t> tap_offsets_by_row(const Conv2d& p, const PlaneLayout& layout) {
  std::vector<std::ptrdiff_t> offsets;
  offsets.reserve(static_cast<std::size_t>(p.taps()));
  for (Index kh = 0; kh < p.h.kernel; ++kh) {
    append_taps(p, layout, p.group_in(), {kh, kh + 1}, offsets);
  }
  return offsets;
}

std::vector<std::ptrdiff_t> pixel_offsets(const Conv2d& p, const PlaneLayout& layout, Index images,
                                          Index image_planes, Index band) {
  std::vector<std::ptrdiff_t> offsets;
  offsets.reserve(static_cast<std::size_t>(images * band * p.w.out));
  for (Index image = 0; image < images; ++image) {
    for (Index oh = 0; oh < band; ++oh) {
      for (Index ow = 0; ow < p.w.out; ++ow) {
        offsets.push_back(image * image_planes + layout.pixel_offset(p, oh, ow));
      }
    }
  }
  return offsets;
}

Range TapPixels::range(Index tap, Range these) const {
  const auto begin = rows.begin() + first[static_cast<std::size_t>(tap)];
  const auto end = rows.begin() + first[static_cast<std::size_t>(tap) + 1];
  return {std::lower_bound(begin, end, these.begin) - rows.begin(),
          std::lower_bound(begin, end, these.end) - rows.begin()};
}

TapPixels tap_pixels(const Conv2d& p, Index cell_pitch, Index images, Index row_pitch) {
  TapPixels met;
  for (Index kh = 0; kh < p.h.kernel; ++kh) {
    for (Index kw = 0; kw < p.w.kernel; ++kw) {
      met.first.push_back(static_cast<Index>(met.rows.size()));
      const Range oh = outputs_inside(p.h, kh), ow = outputs_inside(p.w, kw);
      for (Index image = 0; image < images; ++image) {
        for (Index h = oh.begin; h < oh.end; ++h) {
          for (Index w = ow.begin; w < ow.end; ++w) {
            const Index cell = (image * p.h.in + p.h.cell(h, kh)) * p.w.in + p.w.cell(w, kw);
            met.cells.push_back(cell * cell_pitch);
            met.rows.push_back((image * p.pixels() + h * p.w.out + w) * row_pitch);
          }
        }
      }
    }
  }
  met.first.push_back(static_cast<Index>(met.rows.size()));
  return met;
}

template <class T>
void write_cells(const Conv2d& p, const View<T>& image, Range channels, Index pitch, T* cells) {
  const T* const first = image.at(0, channels.begin);
  T* const to = cells + channels.begin;
  const bool one_row = image.h == p.w.in * image.w;
  const Index rows = one_row ? 1 : p.h.in, width = one_row ? p.in_plane() : p.w.in;
  for (Index ih = 0; ih < rows; ++ih) {
    const T* const row = first + ih * image.h;
    T* const to_row = to + ih * p.w.in * pitch;
    if (image.w == 1) {
      kernels_of<T>().transpose_rows(row, image.c, channels.size(), width, to_row, pitch);
    } else {
      copy_rows(row, image.c, image.w, width, channels.size(), to_row, pitch);
    }
  }
}

template <class T>
PlaneWriter<T>::PlaneWriter(const Conv2d& p, const PlaneLayout& layout)
    : p_(p),
      layout_(layout),
      pad_(element_of<T>(p.pad_value)),
      is_constant_(p.w.pad_mode == PadMode::constant) {
  for (Index phase = 0; phase < layout.phases; ++phase) {
    const Index first = phase - p.w.pad_before;
    const Range inside{ceil_div(-first, layout.phases), ceil_div(p.w.in - first, layout.phases)};
    phases_.push_back({first, intersection(inside, {0, layout.phase})});
  }
}

template <class T>
void PlaneWriter<T>::operator()(const View<T>& x, Range channels, Range rows,
                                bool padding_is_there, T* planes) const {
  const Index first_row = p_.h.cell(rows.begin, 0);
  const Index used = extent(p_.h, rows.size());
  if (layout_.channels_last()) {
    return write_cells(x.from(0, channels.begin), channels.size(), {first_row, first_row + used},
                       padding_is_there && is_constant_, planes);
  }
  const Range copied = intersection({-first_row, p_.h.in - first_row}, {0, used});
  const Index cells = layout_.phases * x.w;  // from one element to the next
  // Two or four phases at once, twice as fast; what one has more than the others is copied by itself.
  Index dealt = 0;
  if (x.w == 1 && (layout_.phases == 2 || layout_.phases == 4)) {
    dealt = layout_.phase;
    for (const Phase& phase : phases_) dealt = std::min(dealt, phase.inside.size());
  }
  const auto cell = [&](const Phase& phase) { return phase.first + phase.inside.begin * layout_.phases; };

  for (Index c = channels.begin; c < channels.end; ++c, planes += layout_.plane) {
    if (!(padding_is_there && is_constant_)) {
      write_padding(x.from(0, c), {first_row, first_row + used}, copied, planes);
    }
    const T* const image = x.at(0, c, first_row + copied.begin);
    T* to = planes + copied.begin * layout_.row;
    if (dealt > 0) {
      // The image's first cells, one for each phase.
      Index first = cell(phases_[0]);
      for (const Phase& phase : phases_) first = std::min(first, cell(phase));
      T *dealt_to[4], *phase_of_row = to;
      for (const Phase& phase : phases_) {
        dealt_to[cell(phase) - first] = phase_of_row + phase.inside.begin;
        phase_of_row += layout_.phase;
      }
      const auto deal = layout_.phases == 2 ? kernels_of<T>().deal_rows : kernels_of<T>().deal_rows_in_four;
      deal(image + first, x.h, copied.size(), dealt, dealt_to, layout_.row);
    }
    for (const Phase& phase : phases_) {
      const T* const from = image + cell(phase) * x.w + dealt * cells;
      copy_rows(from, cells, x.h, copied.size(), phase.inside.size() - dealt,
                to + phase.inside.begin + dealt, layout_.row);
      to += layout_.phase;
    }
  }
}

// What lies beside the image in its rows, which are copied elsewhere, and all of the others.
template <class T>
void PlaneWriter<T>::write_padding(const View<T>& image, Range rows, Range copied_rows,
                                   T* plane) const {
  for (Index r = 0; r < rows.size(); ++r) {
    const Index ih = shown_cell(p_.h, rows.begin + r);
    T* row = plane + r * layout_.row;
    if (ih < 0) {
      std::fill_n(row, layout_.row, pad_);
      continue;
    }
    const T* const shown = image.at(0, 0, ih);
    for (const Phase& phase : phases_) {
      const auto write = [&](Index t, Index end) {
        for (; t < end; ++t) {
          row[t] = is_constant_
                       ? pad_
                       : shown[shown_cell(p_.w, phase.first + t * layout_.phases) * image.w];
        }
      };
      write(0, phase.inside.begin);
      write(phase.inside.end, layout_.phase);
      if (r < copied_rows.begin || r >= copied_rows.end) {
        copy_strided(shown + (phase.first + phase.inside.begin * layout_.phases) * image.w,
                     layout_.phases * image.w, phase.inside.size(), row + phase.inside.begin);
      }
      row += layout_.phase;
    }
  }
}

// Rows of the padded image, from a channel on.
template <class T>
void PlaneWriter<T>::write_cells(const View<T>& image, Index channels, Range rows,
                                 bool padding_is_there, T* cells) const {
  const Phase& columns = phases_[0];
  const bool is_one_run = image.w == layout_.cell && channels == layout_.cell;
  for (Index r = rows.begin; r < rows.end; ++r, cells += layout_.row) {
    const Index ih = shown_cell(p_.h, r);
    const T* const shown = ih < 0 ? nullptr : image.at(0, 0, ih);
    const auto pad = [&](Index t, Index end) {
      for (; t < end; ++t) {
        T* const to = cells + t * layout_.cell;
        const Index iw = shown ? shown_cell(p_.w, columns.first + t) : -1;
        if (iw < 0) std::fill_n(to, channels, pad_);
        else copy_bytes(shown + iw * image.w, channels * sizeof(T), to);
      }
    };
    if (!padding_is_there) {
      pad(0, shown ? columns.inside.begin : layout_.phase);
      pad(columns.inside.end, layout_.phase);
    }
    if (!shown) continue;
    const T* const from = shown + (columns.first + columns.inside.begin) * image.w;
    T* const to = cells + columns.inside.begin * layout_.cell;
    if (is_one_run) copy_bytes(from, columns.inside.size() * channels * sizeof(T), to);
    else copy_rows(from, 1, image.w, columns.inside.size(), channels, to, layout_.cell);
  }
}

#define INSTANTIATE(T) \
  template void write_cells(const Conv2d&, const View<T>&, Range, Index, T*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE
template class PlaneWriter<float>;
template class PlaneWriter<double>;
template class PlaneWriter<std::uint64_t>;

}  // namespace convpool
