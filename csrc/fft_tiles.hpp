// How a convolution is cut for Fourier transforms, which convpool/_fft.py computes: of outputs and
// kernel, what is longer along an axis. A gradient of the weights is one whose kernels are dy.
#pragma once

#include <optional>

#include "problem.hpp"

namespace convpool {

struct FftTiles {
  Index height = 2, width = 2;              // cells of a transform
  Index kernel_height = 1, kernel_width = 1;  // taps of the kernel's part in it
  // Groups, and output channels of each, whose kernels' spectra are in memory at once.
  Index groups_at_once = 1, channels_at_once = 1;
  int threads = 1;               // not more than tiles
  Index working_bytes = 0;       // spectra of those kernels, and what each thread has for a tile
  Index scratch_bytes = 0;       // with what is not needed all the time
};

// The best for that many images, of which there may be more or fewer.
FftTiles fft_tiles(const Conv2d& p, Index images, int threads);

// Smaller kernels, and results, gain nothing.
constexpr Index least_fft_window = 200;

// The same where transforms beat the other algorithms clearly.
std::optional<FftTiles> worthwhile_fft_tiles(const Conv2d& p, Index images, int threads);

}  // namespace convpool
