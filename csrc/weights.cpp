#include "weights.hpp"

#include <cassert>

#include "copies.hpp"
#include "scratch.hpp"
#include "threads.hpp"

namespace convpool {
namespace {

// A panel of weights (taps x width) with zeros behind the last of `count` channels. `first` is the
// first tap of the first channel.
template <class T>
void write_panel(const Conv2d& p, const WeightView<T>& w, const T* first, Index count, Index k0,
                 Index depth, Index width, T* panel) {
  const Index window = p.window();
  if (window == 1 || w.is_contiguous(p)) {
    const Index step = window == 1 ? w.c : 1;
    return pack_panels(Matrix<T>{first + k0 * step, step, w.m}, depth, count, width, panel);
  }
  const bool is_reversed = w.w == -1 && w.h == -p.w.kernel;
  for (Index k = k0, end; k < k0 + depth; k = end) {
    const Index c = k / window, tap = k - c * window;
    end = std::min(k0 + depth, (c + 1) * window);
    const T* const channel = first + c * w.c;
    T* const row = panel + (k - k0) * width;
    if (is_reversed) {
      // From the last tap to the first, against the order in memory: 4x as fast as tap by tap.
      const Index taps = end - k;
      // Input channels are pages apart, which no prefetcher follows: 1.04x at 512 channels.
      const char* const next = reinterpret_cast<const char*>(channel + 4 * w.c - window + 1);
      for (Index i = 0; i < count * window * Index{sizeof(T)}; i += 64) __builtin_prefetch(next + i);
      if (count < width) std::fill_n(row, taps * width, T(0));
      kernels_of<T>().transpose_rows(channel - (tap + taps - 1), w.m, count, taps,
                                     row + (taps - 1) * width, -width);
      continue;
    }
    for (Index i = 0; i < end - k; ++i) {
      const T* from = channel + (tap + i) / p.w.kernel * w.h + (tap + i) % p.w.kernel * w.w;
      pack_panels(Matrix<T>{from, 0, w.m}, 1, count, width, row + i * width);
    }
  }
}

// G w G' of Winograd's convolution (winograd.hpp) for some channels side by side; from one place to the
// next `apart` elements.
template <class T, Index lanes>
void transform_kernels(const T (&w)[9][lanes], T* to, Index apart) {
  constexpr Index cells = WinogradTile::cells;
  T halfway[cells][3][lanes];
  const auto transform = [](const T* a, const T* b, const T* c, T* u, Index step) {
    for (Index i = 0; i < lanes; ++i) {
      const T outer = a[i] + c[i];
      u[i] = a[i];
      u[step + i] = (outer + b[i]) * T(1.0 / 3);
      u[2 * step + i] = (b[i] - outer) * T(1.0 / 3);
      u[3 * step + i] = (a[i] + T(0.5) * b[i] + T(0.25) * c[i]) * T(-16.0 / 15);
      u[4 * step + i] = (a[i] - T(2) * b[i] + T(4) * c[i]) * T(1.0 / 15);
      u[5 * step + i] = c[i];
    }
  };
  for (Index s = 0; s < 3; ++s) transform(w[s], w[3 + s], w[6 + s], halfway[0][s], 3 * lanes);
  for (Index r = 0; r < cells; ++r) {
    transform(halfway[r][0], halfway[r][1], halfway[r][2], to + cells * r * apart, apart);
  }
}

// The weights of `count` output channels from `first` on, transformed, as pack_left() packs a matrix for
// each place; some input channels at a time.
template <class T>
void write_transformed(const Conv2d& p, const WeightView<T>& w, const T* first, Index count, Index apart,
                       T* packed) {
  constexpr Index lanes = GemmKernel<T>::max_rows, most = 8, window = 9;
  const Index k = p.group_in(), block = GemmBlocks::depth_of(k);
  const Index mr = tile_rows<T>(count), padded = round_up(count, mr);
  T kernels[most][window][lanes], transformed[WinogradTile::places][most * lanes];
  for (Index i = 0; i < count; i += mr) {
    for (Index k0 = 0; k0 < k; k0 += block) {
      const Index depth = std::min(block, k - k0);
      T* const panel = packed + k0 * padded + i * depth;
      for (Index c0 = 0; c0 < depth; c0 += most) {
        const Index channels = std::min(most, depth - c0);
        write_panel(p, w, first + i * w.m, std::min(mr, count - i), (k0 + c0) * window, channels * window,
                    lanes, kernels[0][0]);
        // Lanes that are no rows of the panel are written over by the next channel's.
        for (Index c = 0; c < channels; ++c) {
          transform_kernels(kernels[c], transformed[0] + c * mr, most * lanes);
        }
        copy_rows(transformed[0], 1, most * lanes, WinogradTile::places, channels * mr,
                  panel + c0 * mr, apart);
      }
    }
  }
}

}  // namespace

template <class T>
void Weights<T>::pack(const Conv2d& p, const WeightView<T>& w, const WeightPanels& panels,
                      int threads, T* packed) {
  const Index m = p.group_out(), taps = p.taps(), width = panels.width, window = p.window();
  const Index padded = round_up(m, width);
  if (panels.order == PanelOrder::winograd) {
    const Index place = transformed_pitch<T>(p, panels), count = ceil_div(m, width);
    parallel_for(threads, p.groups * count, [&](Index task) {
      const Index g = task / count, i = task % count * width;
      write_transformed(p, w, w.data + g * w.g + i * w.m, std::min(width, m - i), place,
                        packed + task * place * WinogradTile::places);
    });
    return;
  }
  if (panels.order != PanelOrder::tap_by_tap) {
    const bool whole = panels.order == PanelOrder::whole;
    const Index block = GemmBlocks::depth_of(taps), blocks = ceil_div(taps, std::max<Index>(block, 1));
    parallel_for(threads, p.groups * blocks, [&](Index task) {
      const Index g = task / blocks, k0 = task % blocks * block;
      const Index depth = std::min(block, taps - k0);
      for (Index i = 0; i < m; i += width) {
        const Index place = whole ? i * taps + k0 * width : k0 * padded + i * depth;
        write_panel(p, w, w.data + g * w.g + i * w.m, std::min(width, m - i), k0, depth, width,
                    packed + g * padded * taps + place);
      }
    });
    return;
  }
  const Index channels = p.group_in(), blocks = ceil_div(channels, panels.channels);
  parallel_for(threads, p.groups * blocks, [&](Index task) {
    const Index g = task / blocks;
    const Range ic = piece(task % blocks, blocks, channels, 1);
    Scratch scratch(Scratch::bytes<T>(ic.size() * window * width));
    T* const panel = scratch.take<T>(ic.size() * window * width);
    T* to = packed + g * padded * taps + ic.begin * window * width;
    for (Index i = 0; i < m; i += width, to += taps * width) {
      write_panel(p, w, w.data + g * w.g + i * w.m, std::min(width, m - i), ic.begin * window,
                  ic.size() * window, width, panel);
      for (Index t = 0; t < window; ++t) {
        copy_rows(panel + t * width, 1, window * width, ic.size(), width,
                  to + t * ic.size() * width, width);
      }
    }
  });
}

template <class T>
Weights<T>::Weights(const Conv2d& p, const Plan& plan, const WeightView<T>& w, T* memory)
    : p_(p), plan_(plan), w_(w), packed_(nullptr) {
  if (plan.packed_weights) {
    packed_ = static_cast<const T*>(plan.packed_weights);
  } else if (!plan.left_in_place) {
    pack(p, w, plan.weight_panels, plan.threads, memory);
    packed_ = memory;
  }
}

template <class T>
LeftOperand<T> Weights<T>::matrix(Index g) const {
  if (packed_) {
    const Index group = round_up(p_.group_out(), plan_.weight_panels.width) * p_.taps();
    return {{}, packed_ + g * group, false};
  }
  const Index step = p_.window() == 1 ? w_.c : 1;
  assert(p_.window() == 1 || plan_.by_kernel_row || w_.is_contiguous(p_));
  return {{w_.data + g * w_.g, w_.m, step}, nullptr, true};
}

template <class T>
const T* Weights<T>::block(Index g, Index channel, Index count, Index k0, Index depth,
                           T* memory) const {
  const Index width = plan_.weight_panels.width;
  assert(plan_.weight_panels.order != PanelOrder::blocks && channel % width == 0);
  if (packed_) {
    const Index group = round_up(p_.group_out(), width) * p_.taps();
    return packed_ + g * group + channel * p_.taps() + k0 * width;
  }
  write_panel(p_, w_, w_.data + g * w_.g + channel * w_.m, count, k0, depth, width, memory);
  return memory;
}

template <class T>
typename Weights<T>::Taps Weights<T>::taps(Index g, Index channel, Index count, Range ic,
                                           T* memory) const {
  const Index width = plan_.weight_panels.width, window = p_.window();
  const T* const panel = block(g, channel, count, ic.begin * window, ic.size() * window, memory);
  if (packed_) return {panel, ic.size() * width, width};
  return {panel, width, window * width};
}

template <class T>
LeftOperand<T> Weights<T>::transformed(Index g, Index channel, Index place) const {
  const WeightPanels& panels = plan_.weight_panels;
  const Index panel = g * ceil_div(p_.group_out(), panels.width) + channel / panels.width;
  const Index pitch = transformed_pitch<T>(p_, panels);
  return {{}, packed_ + (panel * WinogradTile::places + place) * pitch, false};
}

template class Weights<float>;
template class Weights<double>;
template class Weights<std::uint64_t>;

}  // namespace convpool
