// How a convolution is cut for Fourier transforms, which convpool/_fft.py computes.
#pragma once

#include "problem.hpp"

namespace convpool {

struct FftTiles {
  Index height = 2, width = 2;  // cells of a transform
  // Groups, and output channels of each, whose kernels' spectra are in memory at once.
  Index groups_at_once = 1, channels_at_once = 1;
  int threads = 1;               // not more than tiles
  Index working_bytes = 0;       // spectra of those kernels, and what each thread has for a tile
  Index scratch_bytes = 0;       // with what is not needed all the time
};

FftTiles fft_tiles(const Conv2d& p, int threads);

// Whether transforms beat the other algorithms clearly, from the shape of one image alone.
bool suits_fft(const Conv2d& p);

}  // namespace convpool
