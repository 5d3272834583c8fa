#include "weight_gradient.hpp"

#include <algorithm>
#include <vector>

#include "channel_filters.hpp"
#include "copies.hpp"
#include "gemm.hpp"
#include "gradient_phases.hpp"
#include "layouts.hpp"
#include "numeric.hpp"
#include "plan_implicit_gemm.hpp"
#include "scratch.hpp"
#include "threads.hpp"

namespace convpool {
namespace {

// The work is done in units of some output rows of an image, or of some small images. For a unit the
// planes of its input are written (planes.hpp draws them), if windows leave the image; pixel q of the
// unit and tap t then meet at planes[pixel_offsets[q] + tap_offsets[t]], so that the columns need not
// exist:
//
//   dw' (taps x group_out)  +=  cols (taps x pixels)  *  dy' (pixels x group_out)
//
// Only dy is packed, transposed, and it is smaller than the columns by a factor of kh * kw. With few
// output channels a group, dw' is made of products of rows, which need no packing. If there is one
// block of pixels only, a panel of output channels is transposed into dw as soon as it is done.
template <class T>
class WeightGradient {
 public:
  WeightGradient(const Conv2d& p, const Plan& plan, const T* dy, const View<T>& x, T* dw)
      : p_(p),
        plan_(plan),
        dy_(dy),
        x_(x),
        dw_(dw),
        m_(p.group_out()),
        padded_m_(plan.filters ? m_ : round_up(m_, plan.lanes)),
        in_place_(reads_in_place(p, plan, x)),
        layout_(in_place_ ? image_layout(p, x) : layout_of<T>(p, plan)),
        write_planes_(p, layout_),
        bands_(ceil_div(p.h.out, plan.band)),
        units_(p.pixels() == 0 ? 0 : bands_ * ceil_div(p.batch, plan.images_at_once)),
        in_panels_(plan.shared == 0),
        nr_(gather_width<T>(m_)),
        pitch_(in_panels_ ? nr_ : padded_m_),
        image_planes_(in_place_ ? x.n : ceil_div(p.group_in(), plan.channel_pieces) * layout_.plane),
        reads_images_(plan.filters && kernels_of<T>().dot_image && suits_images(p, 3, 2) &&
                      x.w == 1) {
    tap_offsets_ = tap_offsets(p, layout_, ceil_div(p.group_in(), plan.channel_pieces));
    if (plan.filters) return;
    pixel_offsets_ = pixel_offsets(p, layout_, plan.images_at_once, image_planes_, plan.band);
    for (Index i = 0; i < GatherKernel<T>::max_rows; ++i) row_offsets_.push_back(i * pitch_);
  }

  void operator()() const {
    const Index pieces = plan_.channel_pieces, parts = plan_.unit_pieces, taps = p_.taps();
    Scratch shared(Scratch::bytes<T>(plan_.shared));
    T* const sums = shared.take<T>(plan_.shared);
    const Index tasks = p_.groups * pieces * parts, steps = ceil_div(tasks, plan_.units_at_once);
    parallel_for(plan_.threads, steps, [&](Index step) {
      Scratch own(Scratch::bytes<T>(plan_.columns) + Scratch::bytes<T>(plan_.right) +
                  Scratch::bytes<T>(plan_.left));
      T* const planes = own.take<T>(plan_.columns);
      T* const packed = own.take<T>(plan_.right);
      T* const panel = own.take<T>(plan_.left);
      Index padded_images = 0;
      const Range these = piece(step, steps, tasks, 1);
      for (Index task = these.begin; task < these.end; ++task) {
        const Index part = task % parts, g = task / parts / pieces;
        const Range channels = piece(task / parts % pieces, pieces, p_.group_in(), 1);
        const Index first_sum =
            ((g * parts + part) * taps + channels.begin * p_.window()) * padded_m_;
        T* const mine = in_panels_ ? panel : sums + first_sum;
        const Range units = piece(part, parts, units_, 1);
        if (plan_.filters || units.size() == 0) {
          std::fill_n(mine, channels.size() * p_.window() * padded_m_, T(0));
        }
        for (Index unit = units.begin; unit < units.end; ++unit) {
          const Range images = images_of(unit), band = band_of(unit);
          if (reads_images_ && band.size() > 1) {
            add_image_dots(g, images.begin, band, channels, planes, mine);
            continue;
          }
          for (Index i = 0; !in_place_ && i < images.size(); ++i) {
            const View<T> image = x_.from(images.begin + i, g * p_.group_in());
            write_planes_(image, channels, band, i < padded_images, planes + i * image_planes_);
          }
          if (bands_ == 1 && pieces == 1) padded_images = std::max(padded_images, images.size());
          const T* const cells =
              in_place_ ? x_.at(images.begin, g * p_.group_in() + channels.begin,
                                p_.h.cell(band.begin, 0)) + p_.w.cell(0, 0)
                        : planes;
          plan_.filters ? add_dots(g, images.begin, band, channels, cells, mine)
                        : add_products(g, images, band, channels, cells, packed, mine,
                                       unit > units.begin);
        }
      }
    });
    if (in_panels_) return;
    parallel_for(plan_.threads, p_.groups * pieces, [&](Index task) {
      const Range channels = piece(task % pieces, pieces, p_.group_in(), 1);
      const Range rows{channels.begin * p_.window(), channels.end * p_.window()};
      join(task / pieces, rows, sums);
    });
  }

 private:
  // Windows that stay inside of the image need no planes, where kernels read nothing beside them.
  static bool reads_in_place(const Conv2d& p, const Plan& plan, const View<T>& x) {
    const bool inside = p.pixels() > 0 && stays_inside(p.h) && stays_inside(p.w) && x.w == 1;
    return inside && (plan.gathers || (kernels_of<T>().masks_dots && p.w.stride == 1));
  }

  Range images_of(Index unit) const {
    const Index first = unit / bands_ * plan_.images_at_once;
    return {first, std::min(first + plan_.images_at_once, p_.batch)};
  }
  Range band_of(Index unit) const {
    const Index first = unit % bands_ * plan_.band;
    return {first, std::min(first + plan_.band, p_.h.out)};
  }
  const T* dy_at(Index n, Index channel, const Range& band) const {
    return dy_ + (n * p_.out_channels + channel) * p_.pixels() + band.begin * p_.w.out;
  }

  void add_products(Index g, Range images, Range band, Range channels, const T* planes, T* packed,
                    T* sums, bool accumulate) const {
    const Index image_pixels = band.size() * p_.w.out, pixels = images.size() * image_pixels;
    const Index blocks = GemmBlocks::count(pixels), taps = channels.size() * p_.window();
    for (Index block = 0; block < blocks; ++block) {
      const Range these = piece(block, blocks, pixels, 1);
      for (Index j = 0; j < m_; j += nr_) {
        const Index count = std::min(nr_, m_ - j);
        pack_dy(g * m_ + j, count, images.begin, band, these, packed);
        if (!in_panels_) {
          multiply({0, taps}, these, count, planes, packed, sums + j, accumulate || block > 0);
          continue;
        }
        const Index first = channels.begin * p_.window(), at_once = plan_.left / nr_;
        for (Index t = 0; t < taps; t += at_once) {
          const Range part{t, std::min(t + at_once, taps)};
          multiply(part, these, count, planes, packed, sums, false);
          write(sums, g, {first + part.begin, first + part.end}, j, count);
        }
      }
    }
  }

  // Sums of some taps and a panel of `count` output channels, over a block of pixels. Tiles are of nearly
  // equal heights, since low ones do not fill the pipeline.
  void multiply(Range taps, Range pixels, Index count, const T* planes, const T* panel, T* sums,
                bool accumulate) const {
    const GatherKernel<T>& kernel = kernels_of<T>().gather;
    const Index tiles = ceil_div(taps.size(), gather_rows<T>(count));
    for (Index i = 0; i < tiles; ++i) {
      const Range rows = piece(i, tiles, taps.size(), 1);
      kernel.tiles[rows.size() - 1][gather_vectors<T>(count) - 1](
          pixels.size(), planes, tap_offsets_.data() + taps.begin + rows.begin,
          pixel_offsets_.data() + pixels.begin, panel, nr_, sums + rows.begin * pitch_,
          row_offsets_.data(), accumulate);
    }
  }

  // A panel of output channels by pixels, which may be of several images.
  void pack_dy(Index channel, Index count, Index first_image, Range band, Range pixels,
               T* panel) const {
    const Index image_pixels = band.size() * p_.w.out;
    for (Index q = pixels.begin; q < pixels.end;) {
      const Index n = q / image_pixels, end = std::min(pixels.end, (n + 1) * image_pixels);
      const T* from = dy_at(first_image + n, channel, band) + q - n * image_pixels;
      pack_panels(Matrix<T>{from, 1, p_.pixels()}, end - q, count, nr_, panel);
      panel += (end - q) * nr_;
      q = end;
    }
  }

  // The channels of a 1x1 convolution are taken like the columns of a kernel.
  Index channels_at_once(Range channels) const {
    return p_.window() == 1 ? std::max<Index>(channels.size(), 1) : 1;
  }

  // Calls dot(c, dy, rows, columns, sums) for blocks of the output rows and columns of each input
  // channel: two rows or more, if there are. No lane sums more products than a block of add_products
  // has pixels. Blocks are some cache lines wide and many rows high, since their first and last rows
  // of cells meet fewer rows of dy: 2 to 3 times as fast as two or four rows of 512 pixels.
  template <class Dot>
  void for_each_dot(Index g, Index n, Range band, Range channels, T* sums, Dot dot) const {
    constexpr Index vectors = 8;
    const Index width = p_.w.out, half = GemmBlocks::depth * plan_.lanes / 2;
    // Wider ones if there are few rows, or if they share no cells.
    const Index rows_at_once = p_.h.kernel == 1 ? 1 : band.size();
    const Index wanted = std::clamp(half / rows_at_once, vectors * plan_.lanes, half / 2);
    const Index across = std::max(width / wanted, ceil_div(width, half / 2));
    const Index most_columns = std::min(width, round_up(ceil_div(width, across), plan_.lanes));
    const Index least_rows = half / most_columns;
    const Index down = std::max<Index>(band.size() / least_rows, 1);
    for (Index i = 0; i < down; ++i) {
      const Range rows = piece(i, down, band.size(), 1);
      for (Index c = 0; c < channels.size(); c += channels_at_once(channels)) {
        for (Index j = 0; j < across; ++j) {
          const Range columns = piece(j, across, width, plan_.lanes);
          dot(c, dy_at(n, g * m_, band) + rows.begin * width + columns.begin, rows, columns,
              sums + c * p_.window() * padded_m_);
        }
      }
    }
  }

  void add_dots(Index g, Index n, Range band, Range channels, const T* planes, T* sums) const {
    const Index step = p_.h.stride * layout_.row, down = p_.h.dilation * layout_.row;
    const Index at_once = channels_at_once(channels);
    for_each_dot(g, n, band, channels, sums,
                 [&](Index c, const T* dy, Range rows, Range columns, T* to) {
      const T* const x = planes + c * layout_.plane + rows.begin * step + columns.begin;
      kernels_of<T>().dot_rows({dy, p_.w.out, p_.pixels(), rows.size(), columns.size(), m_, to,
                                padded_m_, p_.h.kernel, p_.w.kernel * at_once, x, step, down,
                                tap_offsets_.data()});
    });
  }

  // Without planes; `zeros` is memory for a row of padding.
  void add_image_dots(Index g, Index n, Range band, Range channels, T* zeros, T* sums) const {
    std::fill_n(zeros, p_.w.in, T(0));
    for_each_dot(g, n, band, channels, sums,
                 [&](Index c, const T* dy, Range rows, Range columns, T* to) {
      kernels_of<T>().dot_image({dy, p_.w.out, p_.pixels(), rows.size(), columns.size(), m_, to,
                                 padded_m_, x_.at(n, g * p_.group_in() + channels.begin + c), x_.h,
                                 p_.h.in, p_.w.in, zeros, p_.h.cell(band.begin + rows.begin, 0),
                                 p_.w.cell(columns.begin, 0), p_.w.stride});
    });
  }

  // Sums of some taps and of `count` output channels from j on, to where dw has them.
  void write(const T* sums, Index g, Range taps, Index j, Index count) const {
    if (plan_.exchanges) {
      T* const to = dw_ + (g * p_.taps() + taps.begin) * m_ + j;
      copy_rows(sums, 1, pitch_, taps.size(), count, to, m_);
    } else {
      T* const to = dw_ + (g * m_ + j) * p_.taps() + taps.begin;
      transpose_apart(sums, pitch_, taps.size(), count, to, p_.taps());
    }
  }

  // Adds the parts of dw' in order to the first, and writes them.
  void join(Index g, Range rows, T* sums) const {
    const Index parts = plan_.unit_pieces, taps = p_.taps(), size = rows.size() * padded_m_;
    T* const first = sums + (g * parts * taps + rows.begin) * padded_m_;
    for (Index part = 1; part < parts; ++part) {
      const T* const other = first + part * taps * padded_m_;
      for (Index i = 0; i < size; ++i) first[i] += other[i];
    }
    write(first, g, rows, 0, m_);
  }

  const Conv2d& p_;
  const Plan& plan_;
  const T* dy_;
  const View<T>& x_;
  T* dw_;
  Index m_, padded_m_;
  bool in_place_;
  PlaneLayout layout_;
  PlaneWriter<T> write_planes_;
  Index bands_, units_;
  bool in_panels_;
  Index nr_, pitch_, image_planes_;
  bool reads_images_;
  std::vector<std::ptrdiff_t> tap_offsets_, pixel_offsets_, row_offsets_;
};

// Small images of a depthwise layer, of which vectors of channels are the faster ones.
template <class T>
void moved_grad_weight(const Conv2d& p, const Plan& plan, const T* dy, const View<T>& x, T* dw) {
  const Index channels = p.in_channels, image = channels * p.in_plane();
  Scratch moved(Scratch::bytes<T>(p.batch * image) + Scratch::bytes<T>(p.batch * channels * p.pixels()));
  T* const cells = moved.take<T>(p.batch * image);
  T* const dy_cells = moved.take<T>(p.batch * channels * p.pixels());
  parallel_for(plan.threads, p.batch, [&](Index n) {
    write_cells(p, x.from(n, 0), {0, channels}, channels, cells + n * image);
  });
  transpose_images(plan.threads, p.batch, channels, p.pixels(), dy, dy_cells);
  channels_last_grad_weight(p, plan, dy_cells, {cells, image, 1, p.w.in * channels, channels}, dw);
}

}  // namespace

template <class T>
void implicit_gemm_grad_weight(const Conv2d& p, const Plan& plan, const T* dy, const View<T>& x,
                               T* dw) {
  if (plan.reads_channels_last) return channels_last_grad_weight(p, plan, dy, x, dw);
  if (plan.moves_channels_last) return moved_grad_weight(p, plan, dy, x, dw);
  if (!plan.exchanges) return WeightGradient<T>(p, plan, dy, x, dw)();
  const Index pixels = p.pixels(), images = p.in_channels * pixels;
  const bool is_contiguous = (p.batch <= 1 || x.n == images) && x.c == pixels && x.h == p.w.in && x.w == 1;
  Scratch copies(is_contiguous ? 0 : Scratch::bytes<T>(p.batch * images));
  const T* cells = x.data;
  if (!is_contiguous) {
    T* to = copies.take<T>(p.batch * images);
    cells = to;
    for (Index n = 0; n < p.batch; ++n) {
      for (Index c = 0; c < p.in_channels; ++c, to += pixels) {
        copy_rows(x.at(n, c), x.w, x.h, p.h.in, p.w.in, to, p.w.in);
      }
    }
  }
  const View<T> pixels_of_dy{dy, p.out_channels * pixels, pixels, p.w.out, 1};
  WeightGradient<T>(exchanged(p), plan, cells, pixels_of_dy, dw)();
}

#define INSTANTIATE(T)                                                                     \
  template void implicit_gemm_grad_weight(const Conv2d&, const Plan&, const T*, const View<T>&, \
                                          T*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

}  // namespace convpool
