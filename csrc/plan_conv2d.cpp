#include "plan_conv2d.hpp"

#include <optional>
#include <vector>

#include "fft_tiles.hpp"
#include "gemm.hpp"
#include "gradient_phases.hpp"
#include "numeric.hpp"
#include "plan_channel_filters.hpp"
#include "plan_im2col.hpp"
#include "plan_implicit_gemm.hpp"
#include "plan_winograd.hpp"
#include "scratch.hpp"

namespace convpool {
namespace {

// Below this many multiply-adds, waking a thread takes longer than it saves.
constexpr double worth_a_thread = 5e5;

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

// The gradient of strided convolutions is made of several; plans tell the most of each.
Plan plan_fft(std::vector<FftTiles> transforms, const char* reason) {
  Plan plan{Algorithm::fft, reason, active_kernels().name, 1, 1, 1};
  for (const FftTiles& tiles : transforms) {
    plan.mr = std::max(plan.mr, tiles.height);
    plan.nr = std::max(plan.nr, tiles.width);
    plan.threads = std::max(plan.threads, tiles.threads);
    plan.scratch_bytes = std::max(plan.scratch_bytes, tiles.scratch_bytes);
  }
  plan.transforms = std::move(transforms);
  return plan;
}

// The convolutions that an operation is made of.
std::vector<Conv2d> convolutions_of(const Conv2d& p, Operation operation) {
  if (operation == Operation::forward) return {p};
  if (operation == Operation::grad_weight) return {weight_gradient_convolution(p)};
  std::vector<Conv2d> convs;
  for (const GradientPhase& phase : gradient_phases(p)) {
    if (!phase.is_empty()) convs.push_back(phase.conv);
  }
  return convs;
}

// The batch does not count where images have results of their own.
Index images_of(const Conv2d& p, Operation operation) {
  return operation == Operation::grad_weight ? p.group_in() : 1;
}

std::vector<FftTiles> transforms_of(const Conv2d& p, Operation operation, int threads) {
  std::vector<FftTiles> transforms;
  for (const Conv2d& conv : convolutions_of(p, operation)) {
    transforms.push_back(fft_tiles(conv, images_of(p, operation), threads));
  }
  return transforms;
}

// None where the other algorithms may be as fast.
std::vector<FftTiles> worthwhile_transforms(const Conv2d& p, Operation operation, int threads) {
  const bool is_one = operation != Operation::grad_input ||
                       (p.h.stride * p.w.stride == 1 && p.h.pad_mode == PadMode::constant);
  // Kernels too small to gain do not wait for a search.
  if (!is_one || p.window() < least_fft_window || p.pixels() < least_fft_window) return {};
  for (const Conv2d& conv : convolutions_of(p, operation)) {
    if (const auto tiles = worthwhile_fft_tiles(conv, images_of(p, operation), threads)) return {*tiles};
  }
  return {};
}

// The convolution with kernels of 3x3 that an operation is, if it is one.
std::optional<Conv2d> winograd_convolution(const Conv2d& p, Operation operation) {
  if (operation == Operation::grad_weight || !has_winograd(p)) return std::nullopt;
  if (operation == Operation::grad_input && !has_phases(p)) return std::nullopt;
  std::vector<Conv2d> convs = convolutions_of(p, operation);
  if (convs.size() != 1 || !has_winograd(convs[0])) return std::nullopt;
  return convs[0];
}

// Images with sums that are not finite are computed again, without transforms.
template <class T>
Plan plan_tiles_and_again(const Conv2d& conv, const Conv2d& p, Operation operation, const char* reason,
                          int threads) {
  Plan plan = plan_winograd<T>(conv, reason, threads);
  plan.scratch_bytes += plan_conv2d<T>(without_tiles(p, p.batch), operation, "auto", threads).scratch_bytes;
  return plan;
}

Unsupported without_phases(const std::string& request) {
  return Unsupported("algorithm='" + request +
                     "' is not implemented for the input gradient with a padding mode or more than "
                     "64 cells in a stride");
}

Unsupported without_winograd(const Conv2d& p, Operation operation) {
  const std::string start = "algorithm='winograd' is not implemented for ";
  if (operation == Operation::grad_weight) return Unsupported(start + "the weight gradient");
  if (operation == Operation::grad_input && p.h.pad_mode != PadMode::constant) {
    return Unsupported(start + "the input gradient with a padding mode");
  }
  const auto sizes = [](Index h, Index w) { return std::to_string(h) + "x" + std::to_string(w); };
  return Unsupported(start + "kernels of " + sizes(p.h.kernel, p.w.kernel) + " with stride " +
                     sizes(p.h.stride, p.w.stride) + " and dilation " +
                     sizes(p.h.dilation, p.w.dilation) + ", only for 3x3 with both 1");
}

bool is_empty(const Conv2d& p, Operation operation) {
  const bool no_results = operation == Operation::grad_input && p.in_plane() == 0;
  return no_results || p.batch == 0 || p.pixels() == 0 || p.taps() == 0 || p.out_channels == 0;
}

}  // namespace

Conv2d without_tiles(Conv2d p, Index images) {
  p.batch = images;
  p.channels_last = false;
  return p;
}

Index moved_cells(const Conv2d& p, const Plan& plan) {
  const auto moved = [&](bool stays, Index channels, Index plane) {
    return !p.channels_last || stays || channels == 1 ? 0 : p.batch * channels * plane;
  };
  return moved(plan.reads_channels_last, p.in_channels, p.in_plane()) +
         moved(plan.writes_channels_last, p.out_channels, p.pixels());
}

void use_packed_weights(Plan& plan, const void* packed) {
  plan.shared = plan.share_columns ? plan.columns : 0;
  plan.left_in_place = false;
  plan.packed_weights = packed;
}

template <class T>
Plan plan_conv2d(const Conv2d& p, Operation operation, const std::string& request, int threads,
                 Leeway leeway) {
  if (static_cast<double>(p.batch) * p.image_multiply_adds() < worth_a_thread) threads = 1;
  if (request == "direct") return plan_direct<T>(p, operation, "requested", threads);
  if (operation == Operation::grad_input && columns_are_input(p) && request != "fft") {
    return plan_conv2d<T>(transposed_1x1(p), Operation::forward, request, threads);
  }
  if (request == "im2col") return plan_im2col<T>(p, operation, "requested", threads);
  if (request == "auto") {
    if (operation == Operation::grad_weight && pays_as_channel_dots<T>(p)) {
      return plan_channel_dots<T>(p, "depthwise, by vectors of channels", threads);
    }
    if (leeway.transforms) {
      std::vector<FftTiles> transforms = worthwhile_transforms(p, operation, threads);
      if (!transforms.empty()) return plan_fft(std::move(transforms), "a large kernel");
    }
    if constexpr (std::is_floating_point_v<T>) {
      const bool may = leeway.winograd && leeway.rounds && !is_empty(p, operation);
      const auto conv = may ? winograd_convolution(p, operation) : std::nullopt;
      if (conv && pays_as_winograd(*conv)) {
        const char* const reason = "3x3, with less than the highest precision";
        return plan_tiles_and_again<T>(*conv, p, operation, reason, threads);
      }
    }
    if (operation == Operation::grad_input && suits_input_gradient(p)) {
      return plan_input_gradient<T>(p, "convolutions of dy", threads);
    }
    if (operation == Operation::forward && suits_channel_filters<T>(p)) {
      return plan_implicit_gemm<T>(p, "depthwise, channels last", threads);
    }
    const char* reason = reason_for_direct(p, operation);
    if (reason) return plan_direct<T>(p, operation, reason, threads);
    if (operation == Operation::forward && columns_are_input(p) && pays_tap_by_tap<T>(p)) {
      return plan_implicit_gemm<T>(p, "few pixels of many channels", threads);
    }
    if (operation == Operation::forward && columns_are_input(p) && p.channels_last && pays_to_gather<T>(p)) {
      return plan_implicit_gemm<T>(p, "1x1, channels last", threads);
    }
    if (operation == Operation::forward && !columns_are_input(p) && few_cells(p)) {
      return plan_implicit_gemm<T>(p, "not 1x1", threads);
    }
    if (operation == Operation::grad_weight && few_cells(p)) {
      return plan_weight_gradient<T>(p, "not widely dilated", threads);
    }
    return plan_im2col<T>(p, operation, "1x1, widely dilated, or a padding mode", threads);
  }
  if (request == "implicit_gemm") {
    if (operation == Operation::forward) return plan_implicit_gemm<T>(p, "requested", threads);
    if (operation == Operation::grad_input && has_phases(p)) {
      return plan_input_gradient<T>(p, "requested", threads);
    }
    if (operation == Operation::grad_weight) return plan_weight_gradient<T>(p, "requested", threads);
    throw without_phases(request);
  }
  if (request == "fft") {
    if (operation == Operation::grad_input && !has_phases(p)) throw without_phases(request);
    if (!is_empty(p, operation) && !std::is_integral_v<T>) {
      return plan_fft(transforms_of(p, operation, threads), "requested");
    }
    Plan plan = plan_conv2d<T>(p, operation, "auto", threads);
    plan.reason = is_empty(p, operation) ? "nothing to transform" : "sums too large for exact transforms";
    return plan;
  }
  if (request == "winograd") {
    const bool empty = is_empty(p, operation);
    const auto conv = winograd_convolution(p, operation);
    if (!conv && !(empty && has_winograd(p))) throw without_winograd(p, operation);
    if constexpr (std::is_floating_point_v<T>) {
      if (!empty && leeway.rounds) return plan_tiles_and_again<T>(*conv, p, operation, "requested", threads);
    }
    Plan plan = plan_conv2d<T>(p, operation, "auto", threads);
    plan.reason = empty ? "nothing to transform" : "sums of whole numbers are exact";
    return plan;
  }
  throw std::invalid_argument(
      "algorithm must be 'auto', 'direct', 'im2col', 'implicit_gemm', 'winograd' or 'fft', got '" +
      request + "'");
}

#define INSTANTIATE(T)                              \
  template Plan plan_conv2d<T>(const Conv2d&, Operation, const std::string&, int, Leeway);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(std::uint64_t)
#undef INSTANTIATE

}  // namespace convpool
