#include "plan_implicit_gemm.hpp"

#include <limits>
#include <new>

#include "gradient_phases.hpp"
#include "numeric.hpp"
#include "plan_channel_filters.hpp"
#include "plan_im2col.hpp"
#include "plan_pieces.hpp"
#include "scratch.hpp"

namespace convpool {
namespace {

// Planes that are read again for each few output channels stay in a second-level cache beside a
// block of the weights. Gathered cells may come from further away: each is used for a whole tile.
constexpr Index planes_bytes = Index{1} << 17, gathered_planes_bytes = Index{1} << 18;

// Sums of pixels that stay in a second-level cache beside the planes; and pixels of the images that are
// gathered together.
constexpr Index gathered_sums_bytes = Index{1} << 18, gathered_pixels = 1024;

// Cells of one image with all channels, which are read for each panel of weights.
constexpr Index gathered_cells_bytes = Index{1} << 19;

template <class T>
PlaneLayout layout_of(const Conv2d& p, const Plan& plan, Index band) {
  constexpr Index line = 64 / sizeof(T);
  if (!plan.gathers) return plane_layout(p, band, plan.lanes);
  return plan.reads_channels_last ? cell_layout(p, band, line) : gather_layout(p, band, line);
}

// Blocks of a sum that goes tap by tap: nearly equal, none longer than other plain sums.
Index channels_at_once(const Conv2d& p) {
  return GemmBlocks::depth_of(p.group_in());
}

// How much longer the tiles that gather for so many columns take than if their sums kept the pipeline full.
template <class T>
double stalls(Index columns) {
  constexpr double filling = 8;  // sums
  return std::max(1.0, filling / static_cast<double>(gather_rows<T>(columns) * gather_vectors<T>(columns)));
}

// The kernel that gathers computes whole vectors of output channels. Unless channels are last, the sums
// are transposed at the end, which takes as long as this many multiply-adds of each. In exchange it needs
// no vectors of pixels, which are unaligned and overhang the rows: 1.1x at 56 pixels a row, 1.4x at 10.
// What it computes over what is needed:
template <class T>
double gathering_cost(const Conv2d& p) {
  const double transposing = p.channels_last ? 0 : 12;
  const GatherKernel<T>& kernel = kernels_of<T>().gather;
  const Index m = p.group_out(), taps = p.taps();
  if (m < 2 || taps == 0) return std::numeric_limits<double>::infinity();
  const Index rest = m % gather_width<T>(m);
  const double computed_rest =
      rest ? stalls<T>(rest) * static_cast<double>(round_up(rest, kernel.lanes)) : 0;
  const double computed = static_cast<double>(m - rest) + computed_rest;
  return computed / static_cast<double>(m) * (1 + transposing / static_cast<double>(taps));
}

// The same for vectors of pixels.
constexpr double vectors_of_pixels_cost = 1.25;

// A dilation may spread a few taps over more cells than any memory has.
void check_planes(const Conv2d& p, Index lanes) {
  const double channels = static_cast<double>(std::max<Index>(p.group_in(), 1));
  if (padded_cells(p, lanes) * channels > 1e15) throw std::bad_alloc();
}

}  // namespace

// Panels of one vector may have too few sums to keep the pipeline full. 1.1 to 1.35x for 8 output channels
// with AVX2, but not in small images, which go tap by tap.
template <class T>
bool pays_to_gather(const Conv2d& p) {
  return gathering_cost<T>(p) * stalls<T>(gather_width<T>(p.group_out())) < vectors_of_pixels_cost;
}

template <class T>
bool pays_tap_by_tap(const Conv2d& p) {
  // A sum meets memory once a block, which takes as long as this many multiply-adds of it.
  constexpr double meeting = 8;
  constexpr Index largest_window = 64;  // for lists of pixels in the caches
  const Index channels = p.group_in();
  const bool zeros = p.pad_value == 0 && p.h.pad_mode == PadMode::constant;
  if (!zeros || channels == 0 || p.pixels() == 0 || p.pixels() > gathered_pixels) return false;
  if (p.in_plane() > gathered_cells_bytes / Index{sizeof(T)} / channels) return false;
  if (p.window() > largest_window) return false;
  const double gathering = gathering_cost<T>(p);
  const bool gathers = gathering < vectors_of_pixels_cost;
  // As a matrix, a small image fills its last panel badly: 1.1x at 7x7, none at 14x14.
  if (p.window() == 1) {
    return gathers && channels >= 128 && p.pixels() < 16 * kernels_of<T>().gather.lanes;
  }
  // The part of the products that is not with padding; none, if a tap meets nothing else.
  const auto inside = [](const Axis& a) {
    double met = 0;
    for (Index t = 0; t < a.kernel; ++t) {
      const Index outputs = outputs_inside(a, t).size();
      if (outputs <= 0) return std::numeric_limits<double>::infinity();
      met += static_cast<double>(outputs);
    }
    return met / static_cast<double>(a.kernel * a.out);
  };
  const double waiting = meeting / static_cast<double>(channels_at_once(p));
  // Vectors of pixels may leave out rows of padding.
  const double other = gathers ? gathering : vectors_of_pixels_cost * inside(p.h);
  return gathering * inside(p.h) * inside(p.w) * (1 + waiting) < other;
}

// Output rows whose planes fit the caches, and leave every thread some bands.
template <class T>
Index fitting_band(const Conv2d& p, const Plan& plan, Index bytes) {
  const Index height = std::max<Index>(p.h.out, 1);
  const auto planes = [&](Index band) {
    return layout_of<T>(p, plan, band).size(p.group_in()) * Index{sizeof(T)};
  };
  // What every band needs for its height of windows, and each further row adds.
  const Index fixed = planes(1), row = std::max<Index>(p.h.out > 1 ? planes(2) - fixed : 0, 1);
  // Shorter bands than kernels would mostly copy each other's input.
  const Index shortest = std::min<Index>(p.h.kernel, 64);
  Index band = std::clamp(std::max(1 + (bytes - fixed) / row, shortest), Index{1}, height);
  if (plan.threads > 1) {
    // Shorter bands would copy too much of each other's input, or meet the weights too often.
    const Index few = plan.gathers ? ceil_div(16 * plan.mr, std::max<Index>(p.w.out, 1)) : 1;
    const Index least = std::min(std::max(p.h.kernel, few), band), images = p.groups * p.batch;
    while (images * ceil_div(p.h.out, band) < 4 * plan.threads && band >= 2 * least) {
      band = ceil_div(band, 2);
    }
  }
  band = ceil_div(height, ceil_div(height, band));
  // Filters along the rows take four of them at a time: 1.2x for 5x5 on 1080x1920, whose bands were of 13.
  const Index fours = band / 4 * 4;
  return plan.filters && filters_along_rows<T>(p) && fours >= shortest ? fours : band;
}

template <class T>
Plan plan_implicit_gemm(const Conv2d& p, const char* reason, int threads) {
  if (suits_channel_filters<T>(p)) return plan_channel_filters<T>(p, reason, threads);
  const Index m = p.group_out(), taps = p.taps();
  const GemmKernel<T>& kernel = gemm_kernel<T>(m);
  const Index mr = tile_rows<T>(m);
  Plan plan{Algorithm::implicit_gemm, reason, active_kernels().name, mr, kernel.nr, threads};
  plan.lanes = kernel.lanes;
  plan.weight_panels.width = mr;
  plan.filters = m == 1 && taps > 0 && p.w.kernel <= 2 * GemmBlocks::depth;
  // A tile of one gathered vector loads a cell for each multiply-add: 1.15 to 1.4x for groups of 16 channels.
  const bool in_place = suits_image_tiles<T>(p) && m <= kernel.lanes && p.group_in() >= 8;
  const bool by_tap = !in_place && pays_tap_by_tap<T>(p);
  plan.gathers = !in_place && (by_tap || pays_to_gather<T>(p));
  if (plan.gathers) {
    plan.nr = gather_width<T>(m);
    plan.mr = gather_rows<T>(plan.nr);
    plan.weight_panels = {plan.nr, PanelOrder::whole};
  }
  // Where pixels are rows and cells are gathered, they may be so with channels last too.
  plan.reads_channels_last = plan.writes_channels_last = p.channels_last && plan.gathers;
  Index image;  // elements of a band's planes, or of an image's cells
  if (by_tap) {
    plan.cell_pitch = odd_lines<T>(p.group_in());
    plan.weight_panels = {plan.nr, PanelOrder::tap_by_tap, channels_at_once(p)};
    plan.band = p.h.out;
    image = p.in_plane() * plan.cell_pitch;
  } else {
    check_planes(p, kernel.lanes);
    plan.band = fitting_band<T>(p, plan, plan.gathers ? gathered_planes_bytes : planes_bytes);
    image = layout_of<T>(p, plan).size(p.group_in());
  }
  const Index bands = ceil_div(p.h.out, plan.band);
  if (threads > 1) share_if_few(plan, p.groups * p.batch * bands, m);
  if (bands == 1 && plan.gathers) {
    // The weights are read once for several small images, if every thread has some.
    const Index most = threads == 1 ? p.batch : ceil_div(p.batch, ceil_div(4 * threads, p.groups));
    const Index bytes = std::max<Index>(image * Index{sizeof(T)}, 1);
    plan.images_at_once = std::min({2 * gathered_planes_bytes / bytes,
                                    gathered_pixels / std::max<Index>(p.pixels(), 1), most});
    plan.images_at_once = std::max<Index>(plan.images_at_once, 1);
  }
  plan.columns = plan.images_at_once * image + plan.cell_pitch;
  // Or what products that read images need: a row of padding; filters a copy beside it.
  plan.columns = std::max(plan.columns, p.w.in + (plan.filters ? image_copy_cells : 0));
  const Index units = p.groups * bands * ceil_div(p.batch, plan.images_at_once);
  // Tasks that take less than some microseconds are done several at a time.
  if (!plan.share_columns) plan.units_at_once = tasks_at_once(p, units, threads);

  Index offsets = taps;
  if (plan.gathers) {
    const Index pixels = plan.images_at_once * plan.band * p.w.out;
    const Index most_pixels = gathered_sums_bytes / (plan.nr * Index{sizeof(T)});
    const Index blocks = ceil_div(std::max<Index>(pixels, 1), most_pixels);
    plan.pixels_at_once = ceil_div(pixels, blocks);
    // Weights that are used once are packed block by block, and are in the cache then.
    plan.left_in_place = units == p.groups && blocks == 1;
    const Index block =
        plan.cell_pitch ? plan.weight_panels.channels * p.window() : GemmBlocks::depth_of(taps);
    plan.right = (plan.pixels_at_once + (plan.left_in_place ? block : 0)) * plan.nr;
    offsets += 2 * pixels * (plan.cell_pitch ? p.window() : 1);
  } else {
    const Index panels = p.batch * p.h.out * ceil_div(p.w.out, kernel.nr);
    plan.left_in_place = plan.filters || (panels <= few_panels && !suits_image_tiles<T>(p));
  }
  plan.shared = (plan.left_in_place ? 0 : shared_weights<T>(p, plan)) +
                (plan.share_columns ? plan.columns : 0);
  const Index own = plan.share_columns ? 0 : plan.columns;
  plan.scratch_bytes = Scratch::bytes<T>(plan.shared) + offsets * Index{sizeof(std::ptrdiff_t)} +
                       threads * (Scratch::bytes<T>(own) + Scratch::bytes<T>(plan.right));
  return plan;
}

bool suits_images(const Conv2d& p, Index kernel, Index most_stride) {
  const auto suits = [&](const Axis& a) {
    return a.kernel == kernel && a.dilation == 1 && a.stride <= most_stride &&
           a.pad_mode == PadMode::constant;
  };
  return p.pad_value == 0 && suits(p.h) && suits(p.w) && p.h.stride == p.w.stride;
}

template <class T>
bool filters_along_rows(const Conv2d& p) {
  return p.in_plane() > kernels_of<T>().most_cells;
}

template <class T>
bool suits_image_tiles(const Conv2d& p) {
  const Index last = p.w.cell(p.w.out - 1, p.w.kernel - 1);
  return kernels_of<T>().image_tiles.of[0] && GemmBlocks::count(p.taps()) == 1 &&
         suits_images(p, 3, 2) && p.w.pad_before <= 1 && last <= p.w.in;
}

template <class T>
bool spreads_images(const Conv2d& p) {
  constexpr Index most = 32;  // channels: from there on phases are as fast
  const bool few = p.group_in() > 1 ? p.group_in() <= most : p.group_out() == 1;
  // No sum is in blocks.
  return kernels_of<T>().spread_image && suits_images(p, 3, 2) && p.w.stride == 2 && few &&
         4 * p.group_out() <= GemmBlocks::depth;
}

bool few_cells(const Conv2d& p) {
  if (p.pixels() == 0 || p.taps() == 0) return false;
  return padded_cells(p, 0) <= static_cast<double>(p.window()) * p.pixels();
}

bool has_phases(const Conv2d& p) {
  constexpr Index most = 64;
  return p.h.pad_mode == PadMode::constant && p.h.stride <= most && p.w.stride <= most &&
         p.h.stride * p.w.stride <= most;
}

// Gradients of unpadded layers are padded by the kernel less one. Without the rows of padding: 1.25x
// for 5x5 kernels on 14x14 cells.
template <class T>
Plan plan_phase(const Conv2d& conv, const char* reason, int threads) {
  Plan plan = plan_implicit_gemm<T>(conv, reason, threads);
  if (plan.gathers || plan.filters || conv.pad_value != 0) return plan;
  Index inside = 0;
  for (Index oh = 0; oh < conv.h.out; ++oh) inside += taps_inside(conv.h, oh).size();
  if (10 * inside > 9 * conv.h.out * conv.h.kernel) return plan;
  plan.by_kernel_row = plan.left_in_place = true;
  plan.shared = plan.share_columns ? plan.columns : 0;
  return plan;
}

template <class T>
Plan plan_input_gradient(const Conv2d& p, const char* reason, int threads) {
  // Weights that are not finite go by way of columns.
  const Plan other = plan_im2col<T>(p, Operation::grad_input, reason, threads);
  Plan plan{Algorithm::implicit_gemm, reason, other.instruction_set, other.mr, other.nr, threads};
  std::vector<GradientPhase> phases = gradient_phases(p);
  // Channels stay last where they do in all phases.
  const auto stays_last = [&](const GradientPhase& phase) {
    return phase.is_empty() || plan_phase<T>(phase.conv, reason, threads).writes_channels_last;
  };
  const bool stay_last = p.channels_last && std::all_of(phases.begin(), phases.end(), stays_last);
  plan.reads_channels_last = plan.writes_channels_last = stay_last;
  plan.images_at_once = std::max<Index>(p.batch, 1);
  Index results = 0, weights = 0;
  for (GradientPhase& phase : phases) phase.conv.channels_last = stay_last;
  if (phases.size() > 1) {
    // The results of some images at a time stay in the caches until they are interleaved.
    constexpr Index results_bytes = Index{1} << 21;
    const Index image = p.in_channels * phases[0].h.axis.out * p.w.in;
    const Index fitting = threads * results_bytes / std::max<Index>(image * Index{sizeof(T)}, 1);
    plan.images_at_once = std::clamp<Index>(fitting, 1, plan.images_at_once);
    results = suit_channel_filters<T>(phases) ? 0 : plan.images_at_once * image;
  }
  for (GradientPhase& phase : phases) {
    if (phase.is_empty()) continue;
    phase.conv.batch = plan.images_at_once;
    const Plan part = plan_phase<T>(phase.conv, reason, threads);
    plan.scratch_bytes = std::max(plan.scratch_bytes, part.scratch_bytes);
    if (!part.packs_any_weights()) weights += p.in_channels * phase.conv.taps();
  }
  plan.scratch_bytes += (weights + results) * Index{sizeof(T)};
  plan.scratch_bytes = std::max(plan.scratch_bytes, other.scratch_bytes);
  return plan;
}

bool suits_input_gradient(const Conv2d& p) {
  if (!has_phases(p) || p.taps() == 0) return false;
  // Columns of windows that do not overlap go where they belong, and nothing is added: 1.1 to 1.3x.
  const bool overlap = p.gradient_terms() > p.group_out();
  if (!overlap && p.group_out() > 1) return false;
  const Index m = p.group_in();
  // With few rows in the product, columns are 1.5 times as fast for the phases of a first layer.
  if (m > 1 && m < 4 && p.h.stride * p.w.stride > 1) return false;
  for (const GradientPhase& phase : gradient_phases(p)) {
    if (!phase.is_empty() && !few_cells(phase.conv)) return false;
  }
  return true;
}

// The time that the kernel that gathers takes for each of a weight gradient's sums and pixels, of which
// that for packing dy is the second: cycles.
template <class T>
double gathering_dw(const Conv2d& p) {
  constexpr double packing = 1;  // of a pixel of dy
  const Index m = p.group_out(), lanes = kernels_of<T>().gather.lanes;
  const double cycles = static_cast<double>(lanes * Index{sizeof(T)}) / 64;
  const double vectors = static_cast<double>(ceil_div(m, lanes)) / static_cast<double>(m);
  return vectors * cycles + packing / static_cast<double>(p.taps());
}

// Whether a weight gradient takes less time as products of rows, whose vectors are pixels, than by the
// kernel that gathers, whose vectors are output channels: cycles for one of the sums. 2 to 5x for
// groups of 4 channels, none from 16 on.
template <class T>
bool pays_as_dots(const Conv2d& p) {
  constexpr double latency = 4;  // of a multiply-add
  const bool in_place = kernels_of<T>().dot_image && suits_images(p, 3, 2);
  const bool shares_rows = p.h.stride == 1 && p.h.dilation == 1;
  // Beside each multiply-add. AVX-512's vectors are whole cache lines, and most loads meet two; the
  // channels of a 1x1 convolution share no cells: gathering takes 0.6 of the time for 64 channels of
  // 112x112, 0.25 to 0.6 with 1x1 from 6 output channels on.
  const bool whole_lines = kernels_of<T>().gather.lanes * Index{sizeof(T)} == 64;
  const double lines = !whole_lines ? 1 : p.window() == 1 ? 2.4 : 1.15;
  const double loading = !shares_rows ? 1.6 : lines * (in_place ? 1 : 1.25);
  const double joining = in_place ? 6 : 12;  // the lanes of a sum
  const Index m = p.group_out(), lanes = kernels_of<T>().gather.lanes;
  if (m == 1) return true;
  const double bytes = static_cast<double>(lanes * Index{sizeof(T)}), cycles = bytes / 64;
  const Index whole = p.w.out / lanes, rest = p.w.out % lanes;
  const bool has_half = bytes == 64 && rest > 0 && 2 * rest <= lanes;
  const double row = static_cast<double>(whole) + (has_half ? 0.5 : rest > 0 ? 1.0 : 0.0);
  // The channels of a 1x1 convolution go side by side.
  const Index sums =
      p.window() == 1 ? std::min<Index>(p.group_in(), 4) : std::min<Index>(p.window(), 9);
  const double waiting = latency / static_cast<double>(sums);
  const double dots = static_cast<double>(p.h.out) * row * std::max(cycles * loading, waiting) +
                      joining * (has_half && whole > 0 ? 2.0 : 1.0);
  return dots < gathering_dw<T>(p) * static_cast<double>(p.pixels());
}

// Whether to compute the transposed gradient of a 1x1 convolution: less is packed, 1.1x for 64 to 256
// channels and 1.3x for 16 to 96. Not for the few pixels of one block, which is transposed while it is in the
// cache.
template <class T>
bool pays_to_exchange(const Conv2d& p) {
  if (!can_exchange(p) || p.pixels() <= GemmBlocks::depth || pays_as_dots<T>(p)) return false;
  const Conv2d other = exchanged(p);
  return !pays_as_dots<T>(other) && gathering_dw<T>(other) < gathering_dw<T>(p);
}

// Units of about this many pixels, blocks of which order the sums: they depend on nothing but the
// shape.
template <class T>
Plan plan_weight_gradient(const Conv2d& p, const char* reason, int threads) {
  constexpr Index unit_pixels = 1024, filtered_cells = 1 << 15, most_cells = 1 << 20;
  // Parts of a gradient are summed apart, to be shared among up to this many threads: pieces of
  // channels would pack all of dy each, which took up to 1.3 times as long on two threads.
  constexpr Index most_parts = 32, most_sums = 1 << 20;
  if (pays_to_exchange<T>(p)) {
    Plan plan = plan_weight_gradient<T>(exchanged(p), reason, threads);
    plan.exchanges = true;
    return plan;
  }
  const Index m = p.group_out(), taps = p.taps(), channels_in = std::max<Index>(p.group_in(), 1);
  const GatherKernel<T>& kernel = kernels_of<T>().gather;
  const Index nr = gather_width<T>(m), mr = gather_rows<T>(nr);
  Plan plan{Algorithm::implicit_gemm, reason, active_kernels().name, mr, nr, threads};
  plan.lanes = kernel.lanes;
  plan.filters = pays_as_dots<T>(p);
  plan.gathers = !plan.filters;
  check_planes(p, kernel.lanes);

  const Index pixels = plan.filters ? filtered_cells / channels_in : unit_pixels;
  const Index height = std::max<Index>(p.h.out, 1), width = std::max<Index>(p.w.out, 1);
  const auto cells = [&] { return channels_in * layout_of<T>(p, plan, plan.band).plane; };
  plan.band = std::clamp<Index>(ceil_div(pixels, width), 1, height);
  // As many bands for each of two or four threads.
  if (plan.band < height) plan.band = ceil_div(height, round_up(ceil_div(height, plan.band), 4));
  while (plan.band > 1 && cells() > most_cells) plan.band = ceil_div(plan.band, 2);
  if (plan.band == height && !plan.filters) {
    const Index fitting = std::min(pixels / (height * width), most_cells / std::max<Index>(cells(), 1));
    plan.images_at_once = std::clamp<Index>(fitting, 1, std::max<Index>(p.batch, 1));
  }
  const Index units = ceil_div(p.batch, plan.images_at_once) * ceil_div(height, plan.band);
  plan.unit_pieces = std::min({most_parts / std::max<Index>(p.groups, 1),
                               most_sums / std::max<Index>(taps * m, 1), units});
  plan.unit_pieces = std::max<Index>(plan.unit_pieces, 1);
  if (threads > 1) {
    const Index wanted = ceil_div(2 * threads, p.groups * plan.unit_pieces);
    plan.channel_pieces = std::clamp<Index>(wanted, 1, std::max<Index>(p.group_in(), 1));
  }
  plan.units_at_once = tasks_at_once(p, p.groups * plan.unit_pieces * plan.channel_pieces, threads);
  const Index channels = ceil_div(p.group_in(), plan.channel_pieces);
  plan.columns = plan.images_at_once * channels * layout_of<T>(p, plan, plan.band).plane;
  if (plan.filters) plan.columns = std::max(plan.columns, p.w.in);  // or a row of padding alone
  plan.right = plan.filters ? 0 : GemmBlocks::depth * nr;
  // Sums over one block of pixels are transposed panel by panel, while they are in the second-level
  // cache: 1.2x for 512 channels of 7x7 pixels.
  const Index all_pixels = p.batch * p.pixels();
  if (plan.gathers && units == 1 && all_pixels > 0 && all_pixels <= GemmBlocks::depth) {
    constexpr Index taps_at_once = 512;
    plan.left = std::min(channels * p.window(), taps_at_once) * nr;
  } else {
    plan.shared = p.groups * plan.unit_pieces * taps * (plan.filters ? m : round_up(m, kernel.lanes));
  }
  const Index offsets = channels * p.window() + plan.images_at_once * plan.band * width;
  plan.scratch_bytes = Scratch::bytes<T>(plan.shared) + offsets * Index{sizeof(std::ptrdiff_t)} +
                       threads * (Scratch::bytes<T>(plan.columns) + Scratch::bytes<T>(plan.right) +
                                  Scratch::bytes<T>(plan.left));
  return plan;
}

template <class T>
PlaneLayout layout_of(const Conv2d& p, const Plan& plan) {
  return layout_of<T>(p, plan, plan.band);
}

#define INSTANTIATE(T)                                              \
  template Plan plan_implicit_gemm<T>(const Conv2d&, const char*, int);    \
  template Plan plan_phase<T>(const Conv2d&, const char*, int);    \
  template Plan plan_input_gradient<T>(const Conv2d&, const char*, int);    \
  template Plan plan_weight_gradient<T>(const Conv2d&, const char*, int);    \
  template PlaneLayout layout_of<T>(const Conv2d&, const Plan&);    \
  template bool pays_to_gather<T>(const Conv2d&);    \
  template bool pays_tap_by_tap<T>(const Conv2d&);    \
  template bool filters_along_rows<T>(const Conv2d&);    \
  template bool suits_image_tiles<T>(const Conv2d&);              \
  template bool spreads_images<T>(const Conv2d&);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

}  // namespace convpool
