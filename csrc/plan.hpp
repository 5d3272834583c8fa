// Which way a convolution is computed, why, in which pieces, and what scratch that takes. The pieces
// never change a result's bits: every sum runs in an order that only the shape of one image sets.
#pragma once

#include <vector>

#include "fft_tiles.hpp"
#include "planes.hpp"
#include "problem.hpp"

namespace convpool {

enum class Operation { forward, grad_input, grad_weight };
enum class Algorithm { direct, im2col, implicit_gemm, fft, winograd };

// The tile of Winograd's convolution: results that are computed together, the cells they meet, and the
// places in it, each of which has its own weights.
struct WinogradTile {
  static constexpr Index kernel = 3, results = 4, cells = kernel + results - 1, places = cells * cells;
};

// How the weights of a group are packed: in panels of `width` output channels, tap by tap, with zeros
// behind the last channel.
enum class PanelOrder {
  blocks,      // all panels of GemmBlocks::depth taps, then of the next
  whole,       // panel after panel
  tap_by_tap,  // panel after panel; of each, for some input channels, those of a tap, then of the next
  winograd,    // panel after panel; of each, transformed, place after place, the operand of a product
};
struct WeightPanels {
  Index width = 1;
  PanelOrder order = PanelOrder::blocks;
  Index channels = 0;  // input channels at once, for tap_by_tap

  bool operator==(const WeightPanels& other) const {
    return width == other.width && order == other.order && channels == other.channels;
  }
};

struct Plan {
  Algorithm algorithm;
  const char* reason;
  const char* instruction_set;
  Index mr, nr;  // the register tile; 1 x 1 for plain loops; the cells of a transform for fft
  int threads = 1;

  // fft: for each of the convolutions that the operation is made of.
  std::vector<FftTiles> transforms = {};
  // implicit_gemm: output rows whose padded input is in memory at once, and the elements that a
  // whole vector may reach behind a row.
  Index band = 0, lanes = 1;
  // implicit_gemm, where a band is a whole image: images whose planes are in memory at once.
  Index images_at_once = 1;
  // Bands, or lots of images, that a task computes one after the other; winograd: rows of tiles, together.
  Index units_at_once = 1;
  // implicit_gemm: each output channel is the sum of its input channels, filtered one by one.
  bool filters = false;
  // implicit_gemm: the kernel gathers single cells of the planes. Pixels are then the rows of a
  // forward product, at most pixels_at_once, and output channels its columns.
  bool gathers = false;
  Index pixels_at_once = 0;
  // It does so tap by tap, from cells with all channels together, this many elements apart. 0 for planes.
  Index cell_pitch = 0;
  // Images are read, and results written, with channels last; or moved there first, for a weight gradient.
  bool reads_channels_last = false, writes_channels_last = false, moves_channels_last = false;
  // Rows of padding are left out; the weights, read in place, are in the order (kh, ic, kw).
  bool by_kernel_row = false;
  // Forward: panels as wide as the tile is high, or wide if it gathers; winograd: several tiles.
  WeightPanels weight_panels = {};
  // winograd: columns of tiles of a task, at most.
  Index tile_columns = 0;
  // im2col: output pixels whose columns are in memory at once, and the distance between rows of columns.
  Index pixel_block = 0, columns_ld = 0;
  // What follows is for both. The matrix product reads its left operand, the weights, in place.
  bool left_in_place = false;
  const void* packed_weights = nullptr;  // packed before the call
  // Forward: all threads share the columns of a block, or the planes of a band, and split
  // output channels; otherwise each thread has its own.
  bool share_columns = false;
  // Pieces for the threads: of input channels for gradients, of output channels for
  // share_columns; and of images, for the input gradient.
  Index channel_pieces = 1, image_pieces = 1;
  // Weight gradient as implicit_gemm: x is packed instead of dy, see exchanged() in gradient_phases.hpp.
  bool exchanges = false;
  // Weight gradient as implicit_gemm: parts of the sum over bands and images, whatever the threads.
  Index unit_pieces = 1;
  // Scratch in elements, for each thread or shared among all; columns stands for planes too. winograd: left
  // is a plane, columns are its cells, transformed, and right is their products.
  Index shared = 0, left = 0, columns = 0, right = 0;

  Index scratch_bytes = 0;  // of all threads

  // Kernels that gather, or have a vector of channels, take any view of the weights.
  bool packs_any_weights() const { return gathers || (filters && writes_channels_last); }
  // Plain loops and filters do not.
  bool takes_packed_weights() const {
    return algorithm != Algorithm::direct && algorithm != Algorithm::fft && !filters;
  }

  const char* name() const {
    switch (algorithm) {
      case Algorithm::direct: return "direct";
      case Algorithm::im2col: return "im2col";
      case Algorithm::implicit_gemm: return "implicit_gemm";
      case Algorithm::winograd: return "winograd";
      case Algorithm::fft: break;
    }
    return "fft";
  }
};

// The outputs of a convolution, or their gradient, as the plan reads them.
template <class T>
View<T> output_view(const Conv2d& p, const Plan& plan, const T* y) {
  const Index c = p.out_channels, pixels = p.pixels();
  if (plan.reads_channels_last) return {y, c * pixels, 1, p.w.out * c, c};
  return {y, c * pixels, pixels, p.w.out, 1};
}

// Piece i of `count` when [0, size) is cut into pieces of whole multiples of `unit`.
inline Range piece(Index i, Index count, Index size, Index unit) {
  const Index units = ceil_div(size, unit);
  return {std::min(size, quotient(i * units, count) * unit),
          std::min(size, quotient((i + 1) * units, count) * unit)};
}

}  // namespace convpool
