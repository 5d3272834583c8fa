#include "plan.hpp"

#include <new>

#include "gemm.hpp"
#include "gradient_phases.hpp"
#include "numeric.hpp"
#include "scratch.hpp"

namespace convpool {
namespace {

// Columns of this many bytes are written, multiplied and forgotten: small enough for a second- or
// third-level cache, large enough that the left operand is not read too often.
constexpr Index columns_bytes = Index{1} << 20;

// Weights that meet at most this many panels of pixels are not worth packing.
constexpr Index few_panels = 16;

// Below this many multiply-adds, waking a thread takes longer than it saves.
constexpr double worth_a_thread = 5e5;

// A task of this many multiply-adds takes so long that handing it out does not count.
constexpr double worth_a_task = 5e5;

Index tasks_at_once(const Conv2d& p, Index tasks) {
  const double work = static_cast<double>(p.batch) * p.image_multiply_adds();
  const double each = work / static_cast<double>(std::max<Index>(tasks, 1));
  return 1 + static_cast<Index>(worth_a_task / std::max(each, 1.0));
}

// Measured crossovers, float32 and float64 alike. With several output channels a group the matrix
// product wins from the smallest size on; with one, columns are copied to be read only once. The
// batch does not count, so that an image's bits do not depend on its company.
const char* reason_for_direct(const Conv2d& p, Operation operation) {
  if (p.group_out() > 1) return nullptr;
  switch (operation) {
    case Operation::forward:
      return p.image_multiply_adds() < 4000 ? "one small output channel a group" : nullptr;
    case Operation::grad_input: return "one output channel a group";
    case Operation::grad_weight: return nullptr;
  }
  return nullptr;
}

template <class T>
Plan plan_direct(const Conv2d& p, Operation operation, const char* reason, int threads) {
  Plan plan{Algorithm::direct, reason, "base", 1, 1, threads};
  if (operation == Operation::forward) plan.scratch_bytes = Scratch::bytes<SumOf<T>>(p.w.out);
  if (operation == Operation::grad_weight) plan.scratch_bytes = Scratch::bytes<SumOf<T>>(p.w.out);
  if (operation == Operation::grad_input) {
    plan.scratch_bytes = Scratch::bytes<SumOf<T>>(p.in_plane());
  }
  plan.scratch_bytes *= threads;
  return plan;
}

// Rows of columns whole vectors long and an odd number of cache lines apart, so that the rows of a
// panel spread over all sets of the first-level cache.
template <class T>
Index spread_rows(Index pixels, Index nr) {
  constexpr Index line = 64 / sizeof(T);
  const Index ld = round_up(round_up(pixels, nr), line);
  return ld / line % 2 ? ld : ld + line;
}

// Room for the packed weights, so that what follows begins at a cache line.
template <class T>
Index shared_weights(const Conv2d& p) {
  return round_up(p.groups * left_size<T>(p.group_out(), p.taps()), 64 / sizeof(T));
}

// Too few tasks for the threads: they share each task's columns and split its m output channels.
void share_if_few(Plan& plan, Index tasks, Index m) {
  plan.share_columns = tasks < 2 * plan.threads && m >= 2 * plan.mr;
  if (!plan.share_columns) return;
  plan.channel_pieces = std::min<Index>(ceil_div(m, plan.mr), 4 * plan.threads);
}

template <class T>
void plan_forward(const Conv2d& p, Plan& plan, bool in_place) {
  const Index m = p.group_out(), taps = p.taps(), images = p.groups * p.batch;
  // Four blocks for each thread even out their lengths; smaller ones than this read the weights
  // too often.
  const Index least_block = 4 * plan.nr;
  const auto blocks = [&] { return ceil_div(p.pixels(), std::max<Index>(plan.pixel_block, 1)); };
  if (plan.threads > 1) {
    if (in_place) plan.pixel_block = std::min(plan.pixel_block, GemmBlocks::columns);
    while (images * blocks() < 4 * plan.threads && plan.pixel_block > 2 * least_block) {
      plan.pixel_block = round_up(ceil_div(plan.pixel_block, 2), plan.nr);
    }
    share_if_few(plan, images * blocks(), m);
  }
  plan.left_in_place = p.batch * ceil_div(p.pixels(), plan.nr) <= few_panels;
  if (!plan.left_in_place) plan.shared = shared_weights<T>(p);
  if (in_place) plan.right = right_size<T>(m, plan.pixel_block, taps);
}

template <class T>
void plan_grad_input(const Conv2d& p, Plan& plan) {
  if (plan.threads > 1) {
    plan.image_pieces = std::min<Index>(p.batch, 2 * plan.threads);
    const Index wanted = ceil_div(2 * plan.threads, p.groups * std::max<Index>(plan.image_pieces, 1));
    plan.channel_pieces = std::clamp<Index>(wanted, 1, std::max<Index>(p.group_in(), 1));
  }
  const Index rows = ceil_div(p.group_in(), plan.channel_pieces) * p.window();
  // Pieces of one row have a kernel of their own, with wider panels.
  const Index fewest_rows = std::max<Index>(p.group_in() / plan.channel_pieces, 1) * p.window();
  plan.left = left_size<T>(rows, p.group_out());
  plan.right = std::max(right_size<T>(rows, plan.pixel_block, p.group_out()),
                        right_size<T>(fewest_rows, plan.pixel_block, p.group_out()));
  if (plan.columns) plan.columns = rows * plan.columns_ld;
}

template <class T>
void plan_grad_weight(const Conv2d& p, Plan& plan) {
  if (plan.threads > 1) {
    const Index wanted = ceil_div(plan.threads, std::max<Index>(p.groups, 1));
    plan.channel_pieces = std::clamp<Index>(wanted, 1, std::max<Index>(p.group_in(), 1));
  }
  const Index taps = ceil_div(p.group_in(), plan.channel_pieces) * p.window();
  plan.left = left_size<T>(p.group_out(), plan.pixel_block);
  plan.right = right_size<T>(p.group_out(), taps, plan.pixel_block);
  if (plan.columns) plan.columns = taps * plan.columns_ld;
}

template <class T>
Plan plan_im2col(const Conv2d& p, Operation operation, const char* reason, int threads) {
  const Index taps = p.taps(), channels = p.group_out();
  const GemmKernel<T>& kernel =
      gemm_kernel<T>(operation == Operation::grad_input ? taps : channels);
  Plan plan{Algorithm::im2col, reason, active_kernels().name, kernel.mr, kernel.nr, threads};
  const bool in_place = columns_are_input(p);

  // The weight gradient also packs its left operand, dy, a block of pixels at a time.
  const bool by_block = operation == Operation::grad_weight;
  const Index height = std::max({Index{1}, in_place ? 0 : taps, by_block ? channels : 0});
  const Index fitting = columns_bytes / (height * Index{sizeof(T)});
  // The blocks of gradients order their sums, so they depend neither on the tile nor the threads.
  const Index unit = operation == Operation::forward ? kernel.nr : 128;
  plan.pixel_block = std::min(std::max(fitting / unit, Index{1}) * unit, p.pixels());
  if (in_place && !by_block) plan.pixel_block = p.pixels();
  plan.columns = in_place ? 0 : taps;  // rows; times columns_ld below

  if (operation == Operation::forward) plan_forward<T>(p, plan, in_place);
  if (!in_place) {
    plan.columns_ld = spread_rows<T>(plan.pixel_block, kernel.nr);
    plan.columns = taps * plan.columns_ld;
  }
  if (operation == Operation::grad_input) plan_grad_input<T>(p, plan);
  if (operation == Operation::grad_weight) plan_grad_weight<T>(p, plan);

  if (plan.share_columns) plan.shared += plan.columns;
  Index each = 0;
  for (Index part : {plan.left, plan.share_columns ? 0 : plan.columns, plan.right}) {
    each += Scratch::bytes<T>(part);
  }
  plan.scratch_bytes = Scratch::bytes<T>(plan.shared) + threads * each +
                       (in_place ? 0 : taps * Index{sizeof(std::ptrdiff_t)});
  return plan;
}

// Planes that are read in place, or filtered, stay in a second-level cache beside a block of the
// weights; those that are packed are read once or twice, and longer bands read the weights less often.
constexpr Index planes_bytes = Index{1} << 17, packed_planes_bytes = Index{1} << 20;

// Packing a panel's row takes as long as this many multiply-adds with a whole panel. It pays with
// many output channels and where rows of pixels fill vectors badly: panels run on over row ends.
// Reading in place, the kernel meets addresses that cross cache lines, and a last tile of a single
// vector has too few sums to fill the pipeline.
template <class T>
bool pays_to_pack(const Conv2d& p, const GemmKernel<T>& kernel) {
  constexpr double packing = 5, crossing = 1.08, single = 4.0 / 3;
  const Index last = ceil_div(p.w.out, kernel.lanes) * kernel.lanes % kernel.nr;
  const double computed = static_cast<double>(round_up(p.w.out, kernel.lanes)) +
                          (last == kernel.lanes ? (single - 1) * kernel.lanes : 0);
  const double in_place = crossing * computed / static_cast<double>(p.w.out);
  return p.group_out() * (in_place - 1) > packing;
}

// A dilation may spread a few taps over more cells than any memory has.
void check_planes(const Conv2d& p, Index lanes) {
  const PlaneLayout whole = plane_layout(p, std::max<Index>(p.h.out, 1), lanes);
  const double cells = static_cast<double>(whole.rows) * static_cast<double>(whole.row);
  if (cells * static_cast<double>(std::max<Index>(p.group_in(), 1)) > 1e15) throw std::bad_alloc();
}

template <class T>
Plan plan_implicit_gemm(const Conv2d& p, const char* reason, int threads) {
  const Index m = p.group_out(), taps = p.taps(), images = p.groups * p.batch;
  const GemmKernel<T>& kernel = gemm_kernel<T>(m);
  Plan plan{Algorithm::implicit_gemm, reason, active_kernels().name, kernel.mr, kernel.nr, threads};
  plan.lanes = kernel.lanes;
  plan.filters = m == 1 && taps > 0 && p.w.kernel <= 2 * GemmBlocks::depth;
  plan.packs_planes = !plan.filters && p.pixels() > 0 && pays_to_pack(p, kernel);
  const auto planes = [&](Index band) {
    return p.group_in() * plane_layout(p, band, kernel.lanes).plane();
  };
  const auto bands = [&] { return ceil_div(p.h.out, plan.band); };

  check_planes(p, kernel.lanes);

  // Rows that a band adds to what every band needs for its height of windows.
  const Index added = p.h.out > 1 ? planes(2) - planes(1) : 0;
  const Index row = std::max<Index>(added, 1) * Index{sizeof(T)};
  const Index fixed = planes(1) * Index{sizeof(T)};
  const Index fitting = plan.packs_planes ? packed_planes_bytes : planes_bytes;
  // Shorter bands than kernels would mostly copy each other's input.
  const Index shortest = std::min<Index>(p.h.kernel, 64), height = std::max<Index>(p.h.out, 1);
  plan.band = std::clamp(std::max(1 + (fitting - fixed) / row, shortest), Index{1}, height);
  if (threads > 1) {
    // Shorter bands would copy too much of each other's input, or meet the weights too often.
    const Index few = plan.packs_planes ? ceil_div(8 * kernel.nr, p.w.out) : 1;
    const Index least = std::min(std::max(p.h.kernel, few), plan.band);
    while (images * bands() < 4 * threads && plan.band >= 2 * least) {
      plan.band = ceil_div(plan.band, 2);
    }
    share_if_few(plan, images * bands(), m);
    // Each piece packs all panels for itself.
    if (plan.packs_planes) plan.channel_pieces = std::min<Index>(plan.channel_pieces, 2 * threads);
  }
  if (bands() == 1 && plan.packs_planes) {
    // Panels run on over the ends of small images too, if every thread has some.
    const Index image = std::max<Index>(planes(plan.band) * Index{sizeof(T)}, 1);
    const Index most = threads == 1 ? p.batch : ceil_div(p.batch, ceil_div(4 * threads, p.groups));
    plan.images_at_once = std::min({2 * packed_planes_bytes / image,
                                    ceil_div(16 * kernel.nr, p.pixels()), most});
    plan.images_at_once = std::max<Index>(plan.images_at_once, 1);
  }
  plan.columns = plan.images_at_once * planes(plan.band);
  // Tasks that take less than some microseconds are done several at a time.
  if (!plan.share_columns) {
    plan.units_at_once =
        tasks_at_once(p, p.groups * bands() * ceil_div(p.batch, plan.images_at_once));
  }
  plan.left_in_place =
      plan.filters || p.batch * p.h.out * ceil_div(p.w.out, kernel.nr) <= few_panels;
  if (plan.packs_planes) {
    plan.right = right_size<T>(m, plan.images_at_once * plan.band * p.w.out, taps);
  }
  plan.shared = (plan.left_in_place ? 0 : shared_weights<T>(p)) +
                (plan.share_columns ? plan.columns : 0);
  const Index own = plan.share_columns ? 0 : plan.columns;
  plan.scratch_bytes = Scratch::bytes<T>(plan.shared) + taps * Index{sizeof(std::ptrdiff_t)} +
                       threads * (Scratch::bytes<T>(own) + Scratch::bytes<T>(plan.right));
  return plan;
}

// A wide dilation may spread few taps over more cells than there are columns.
bool few_cells(const Conv2d& p) {
  if (p.pixels() == 0 || p.taps() == 0) return false;
  const PlaneLayout layout = plane_layout(p, p.h.out, 0);
  const double planes = static_cast<double>(layout.rows) * static_cast<double>(layout.row);
  return planes <= static_cast<double>(p.window()) * p.pixels();
}

// The input gradient as convolutions of dy, one for each phase of the strides.
bool has_phases(const Conv2d& p) {
  constexpr Index most = 64;
  return p.h.pad_mode == PadMode::constant && p.h.stride <= most && p.w.stride <= most &&
         p.h.stride * p.w.stride <= most;
}

template <class T>
Plan plan_input_gradient(const Conv2d& p, const char* reason, int threads) {
  // Weights that are not finite go by way of columns.
  const Plan other = plan_im2col<T>(p, Operation::grad_input, reason, threads);
  Plan plan{Algorithm::implicit_gemm, reason, other.instruction_set, other.mr, other.nr, threads};
  std::vector<GradientPhase> phases = gradient_phases(p);
  plan.images_at_once = std::max<Index>(p.batch, 1);
  Index results = 0;
  if (phases.size() > 1) {
    // The results of some images at a time stay in the caches until they are interleaved.
    constexpr Index results_bytes = Index{1} << 21;
    const Index image = p.in_channels * phases[0].h.axis.out * p.w.in;
    const Index fitting = threads * results_bytes / std::max<Index>(image * Index{sizeof(T)}, 1);
    plan.images_at_once = std::clamp<Index>(fitting, 1, plan.images_at_once);
    results = plan.images_at_once * image;
  }
  for (GradientPhase& phase : phases) {
    if (phase.is_empty()) continue;
    phase.conv.batch = plan.images_at_once;
    const Plan part = plan_gradient_phase<T>(phase.conv, threads);
    plan.scratch_bytes = std::max(plan.scratch_bytes, part.scratch_bytes);
  }
  plan.scratch_bytes += (p.out_channels * p.taps() + results) * Index{sizeof(T)};
  plan.scratch_bytes = std::max(plan.scratch_bytes, other.scratch_bytes);
  return plan;
}

Plan plan_fft(const Conv2d& p, const char* reason, int threads) {
  const FftTiles tiles = fft_tiles(p, threads);
  Plan plan{Algorithm::fft, reason, "numpy", tiles.height, tiles.width, tiles.threads};
  plan.fft = tiles;
  plan.scratch_bytes = tiles.scratch_bytes;
  return plan;
}

bool suits_input_gradient(const Conv2d& p) {
  if (!has_phases(p) || columns_are_input(p) || p.taps() == 0) return false;
  const Index m = p.group_in();
  // Turning the weights round takes longer than it saves for so few pixels.
  if (m > 1 && p.in_plane() <= 64) return false;
  // With few rows in the product, columns are 1.5 times as fast for the phases of a first layer.
  if (m > 1 && m < 4 && p.h.stride * p.w.stride > 1) return false;
  for (const GradientPhase& phase : gradient_phases(p)) {
    if (!phase.is_empty() && !few_cells(phase.conv)) return false;
  }
  return true;
}

// Units of about this many pixels, blocks of which order the sums: they depend on nothing but the
// shape.
template <class T>
Plan plan_weight_gradient(const Conv2d& p, const char* reason, int threads) {
  constexpr Index unit_pixels = 1024, filtered_cells = 1 << 15, most_cells = 1 << 20;
  // Parts of small gradients are summed apart, to be shared among up to this many threads.
  constexpr Index most_parts = 32, most_sums = 1 << 14;
  const Index m = p.group_out(), taps = p.taps(), channels_in = std::max<Index>(p.group_in(), 1);
  const OuterKernel<T>& kernel = kernels_of<T>().outer;
  Plan plan{Algorithm::implicit_gemm, reason, active_kernels().name, kernel.mr, kernel.nr, threads};
  plan.lanes = kernel.lanes;
  plan.filters = m == 1;
  check_planes(p, kernel.lanes);

  const Index pixels = plan.filters ? filtered_cells / channels_in : unit_pixels;
  const Index height = std::max<Index>(p.h.out, 1), width = std::max<Index>(p.w.out, 1);
  const auto cells = [&] { return channels_in * plane_layout(p, plan.band, 0).plane(); };
  plan.band = std::clamp<Index>(ceil_div(pixels, width), 1, height);
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
  plan.units_at_once = tasks_at_once(p, p.groups * plan.unit_pieces * plan.channel_pieces);
  const Index channels = ceil_div(p.group_in(), plan.channel_pieces);
  plan.columns = plan.images_at_once * channels * plane_layout(p, plan.band, kernel.lanes).plane();
  plan.right = plan.filters ? 0 : GemmBlocks::depth * kernel.nr;
  plan.shared = p.groups * plan.unit_pieces * taps * round_up(m, kernel.lanes);
  const Index offsets = channels * p.window() + plan.images_at_once * plan.band * width;
  plan.scratch_bytes = Scratch::bytes<T>(plan.shared) + offsets * Index{sizeof(std::ptrdiff_t)} +
                       threads * (Scratch::bytes<T>(plan.columns) + Scratch::bytes<T>(plan.right));
  return plan;
}

}  // namespace

bool columns_are_input(const Conv2d& p) {
  const auto one = [](const Axis& a) {
    return a.kernel == 1 && a.stride == 1 && a.pad_before == 0 && a.pad_after == 0 &&
           a.in == a.out;  // not so for a transposed convolution with output_padding
  };
  return one(p.h) && one(p.w);
}

template <class T>
Plan plan_gradient_phase(const Conv2d& conv, int threads) {
  return plan_implicit_gemm<T>(conv, "a convolution of dy", threads);
}

void use_packed_weights(Plan& plan, const void* packed) {
  if (plan.algorithm == Algorithm::direct || plan.filters) return;
  plan.shared = plan.share_columns ? plan.columns : 0;
  plan.left_in_place = false;
  plan.packed_weights = packed;
}

template <class T>
Plan plan_conv2d(const Conv2d& p, Operation operation, const std::string& request, int threads,
                 bool may_transform) {
  if (static_cast<double>(p.batch) * p.image_multiply_adds() < worth_a_thread) threads = 1;
  if (request == "direct") return plan_direct<T>(p, operation, "requested", threads);
  if (request == "im2col") return plan_im2col<T>(p, operation, "requested", threads);
  if (request == "auto") {
    if (operation == Operation::grad_input && suits_input_gradient(p)) {
      return plan_input_gradient<T>(p, "convolutions of dy", threads);
    }
    if (operation == Operation::forward && may_transform && suits_fft(p)) {
      return plan_fft(p, "a large kernel", threads);
    }
    const char* reason = reason_for_direct(p, operation);
    if (reason) return plan_direct<T>(p, operation, reason, threads);
    if (operation == Operation::forward && !columns_are_input(p) && few_cells(p)) {
      return plan_implicit_gemm<T>(p, "not 1x1", threads);
    }
    if (operation == Operation::grad_weight && few_cells(p) &&
        p.batch * p.pixels() > p.group_out()) {
      return plan_weight_gradient<T>(p, "more pixels than output channels", threads);
    }
    return plan_im2col<T>(p, operation, "1x1, widely dilated, or a gradient", threads);
  }
  if (request == "implicit_gemm") {
    if (operation == Operation::forward) return plan_implicit_gemm<T>(p, "requested", threads);
    if (operation == Operation::grad_input && has_phases(p)) {
      return plan_input_gradient<T>(p, "requested", threads);
    }
    if (operation == Operation::grad_weight) return plan_weight_gradient<T>(p, "requested", threads);
    throw Unsupported(
        "algorithm='implicit_gemm' is not implemented for the input gradient with a padding mode or "
        "more than 64 cells in a stride");
  }
  if (request == "fft") {
    if (operation != Operation::forward) {
      throw Unsupported(
          "algorithm='fft' is not implemented for gradients and transposed convolutions");
    }
    const bool empty = p.batch == 0 || p.pixels() == 0 || p.taps() == 0 || p.out_channels == 0;
    if (!empty && !std::is_integral_v<T>) return plan_fft(p, "requested", threads);
    Plan plan = plan_conv2d<T>(p, operation, "auto", threads);
    plan.reason = empty ? "nothing to transform" : "sums too large for exact transforms";
    return plan;
  }
  if (request == "winograd") throw Unsupported("algorithm='winograd' is not implemented yet");
  throw std::invalid_argument(
      "algorithm must be 'auto', 'direct', 'im2col', 'implicit_gemm', 'winograd' or 'fft', got '" +
      request + "'");
}

#define INSTANTIATE(T)                                        \
  template Plan plan_gradient_phase<T>(const Conv2d&, int);    \
  template Plan plan_conv2d<T>(const Conv2d&, Operation, const std::string&, int, bool);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

}  // namespace convpool
