// The contract between the drivers and the instruction-set files: plain structs, no code.
#pragma once

#include <cstddef>
#include <cstdint>

namespace convpool {

// One register tile of a matrix product, `rows` by `columns`:
//
//   c[i*ldc + j]  =  (accumulate ? c[i*ldc + j] : 0)  +  (bias ? bias[i] : 0)
//                    +  sum over k of  a[i*a_row + k*a_step] * b[b_offsets[k] + j]
//
//                       b      j = 0 .. columns-1   contiguous
//                      k |   |==============|
//                        v     |==============|  row k begins b_offsets[k] elements after b:
//        a                   |==============|    evenly in a panel or matrix, anywhere in an image
//   i |  k ---->           +------------------+
//   v  |==========|        |   the sums       |  in registers over the whole k,
//      |==========|        |                  |  then they meet c once
//      |==========|        +------------------+
//   rows a_row apart, columns a_step apart: 1 and mr in a packed panel, the row length and 1 in a
//   row-major matrix
//
// - k >= 1; c overlaps neither a nor b; each may have any alignment.
// - `rows` is exact; b is readable for whole vectors; of c the columns less than `columns` are
//   written, all or all but some of the last vector's.
// - Sums run over k in order, so results do not depend on the tile.
template <class T>
using GemmTile = void (*)(std::ptrdiff_t k, const T* a, std::ptrdiff_t a_row,
                          std::ptrdiff_t a_step, const T* b, const std::ptrdiff_t* b_offsets,
                          const T* bias, T* c, std::ptrdiff_t ldc, std::ptrdiff_t columns,
                          bool accumulate);

// A family of tiles, from 1 x lanes to the full mr x nr.
template <class T>
struct GemmKernel {
  static constexpr int max_rows = 8, max_vectors = 8;

  std::ptrdiff_t mr, nr, lanes;
  GemmTile<T> tiles[max_rows][max_vectors];  // [rows - 1][columns / lanes - 1]
};

// For matrices; for few rows, and for one, whose sums must be spread over more columns to fill the
// pipeline.
template <class T>
struct GemmKernels {
  GemmKernel<T> matrix, few_rows, row;
};

// The cross-correlation of one plane with one kernel, where a matrix product would have a single
// row:
//
//   y[i*y_row + j]  =  (accumulate ? y[i*y_row + j] : 0)  +  (bias ? *bias : 0)
//       +  sum over r < kh, s < kw of  w[r*kw + s] * x[i*x_step + r*x_row + x_offsets[s] + j]
//
// for i < rows, j < columns. Sums run over r, then s. If x_step == x_row output rows share the cells
// that they load.
// - All sizes >= 1; y does not overlap w or x; each may have any alignment.
// - A whole vector is readable where the last column of x is.
template <class T>
struct FilterTask {
  std::ptrdiff_t kh, kw;
  const T *w, *x;
  std::ptrdiff_t x_step, x_row;
  const std::ptrdiff_t* x_offsets;
  const T* bias;
  T* y;
  std::ptrdiff_t y_row, rows, columns;
  bool accumulate;
};

// The same with a square kernel, for some planes of images with borders of zeros, read where they
// stand:
//
//   y[i*y_row + j]  =  (accumulate ? y[i*y_row + j] : 0)  +  (bias ? *bias : 0)
//       +  sum over r, s < size of  w[size*r + s] * cell(top + i*stride + r, left + j*stride + s)
//
// where cell(r, s) is x[r*x_row + s], or zero outside of x_rows x x_columns cells.
// - size is 3; or 5 or 7, as SquareFilters says.
// - Sizes >= 1; stride is 1 or 2; top and left may be negative; zeros are x_columns of them.
// - copy is memory for image_copy_cells cells.
// - Nothing outside of the image is read, nothing outside of the rows of y is written.
constexpr std::ptrdiff_t image_copy_cells = 4608;  // a plane of 56x56 with the padding of a 7x7 kernel

template <class T>
struct ImageFilterTask {
  std::ptrdiff_t size;
  const T *w, *x;
  std::ptrdiff_t x_row, x_rows, x_columns;
  const T* zeros;
  T* copy;
  std::ptrdiff_t top, left, stride;
  const T* bias;
  T* y;
  std::ptrdiff_t y_row, rows, columns;
  bool accumulate;
  std::ptrdiff_t planes, w_plane, x_plane, bias_plane, y_plane;  // how many; from one to the next
};

// What of 5x5 and 7x7 kernels filter_image takes.
struct SquareFilters {
  bool any_rows = false;  // else in planes of up to most_cells at least size / stride, rounded up
  std::ptrdiff_t most_strided_columns = 0;  // of results with stride 2
  bool adds_strided = false;                // with stride 2 to results that are there
};

// Filters of images with channels last, each channel with its own weights, for some pixels of a row:
//
//   y[i*y_step + c]  =  sum over t < taps of  w[t*channels + c] * cells[t][i*stride*channels + c]
//
// (+ bias[c]) for i < pixels, c < channels. Sums run over t in order. Sizes >= 1; at least a vector of
// channels. If there are several pixels, the cells of row_taps taps each, unless that is 0, follow each other.
template <class T>
struct ChannelFilterTask {
  std::ptrdiff_t channels, taps, pixels, row_taps;
  const T* w;
  const T* const* cells;
  std::ptrdiff_t stride;
  const T* bias;  // or null
  T* y;
  std::ptrdiff_t y_step;
};

// The weight gradients of the same:
//
//   sums[t*channels + c]  +=  sum over i < pixels of
//                                 dy[i*channels + c] * cells[t][first + i*stride*channels + c]
template <class T>
struct ChannelDotTask {
  std::ptrdiff_t channels, taps, pixels, stride;
  const T* dy;
  const T* const* cells;
  std::ptrdiff_t first;
  T* sums;
};

// Some output channels of a 3x3 convolution, for images with borders of zeros that are read where they
// stand:
//
//   y[o*y_plane + i*y_row + j]  =  (bias ? bias[o] : 0)
//       +  sum over c < in_channels, r, s < 3 of
//             w[(9*c + 3*r + s)*w_step + o] * cell(c, top + i*stride + r, left + j*stride + s)
//
// where cell(c, r, s) is x[c*x_plane + r*x_row + s], or zero outside of x_rows x x_columns cells.
// - Sizes >= 1; stride is 1 or 2; top may be negative; zeros are x_columns of them.
// - left is -1 or more, and the last column meets no more than one cell behind the rows.
// - Sums run over c, r, s in order.
template <class T>
struct ImageTileTask {
  std::ptrdiff_t in_channels;
  const T* w;
  std::ptrdiff_t w_step;
  const T* x;
  std::ptrdiff_t x_plane, x_row, x_rows, x_columns;
  const T* zeros;
  std::ptrdiff_t top, left, stride;
  const T* bias;
  T* y;
  std::ptrdiff_t y_plane, y_row, rows, columns;
};
template <class T>
struct ImageTiles {
  static constexpr int max_rows = 8;

  void (*of[max_rows])(const ImageTileTask<T>&);  // [output channels - 1]; null: none
};

// A tile whose left operand is gathered from planes of images, one number at a time, so that it has
// neither alignment nor rows; its right operand is packed, and its results may be any rows:
//
//   c[c_rows[i] + j]  =  (accumulate ? c[c_rows[i] + j] : 0)
//                        +  sum over k of  a[a_rows[i] + a_steps[k]] * b[k*b_row + j]
//
// The rows are pixels and the steps taps, or the other way round. Otherwise as GemmTile, but that
// whole vectors of c are written.
template <class T>
using GatherTile = void (*)(std::ptrdiff_t k, const T* a, const std::ptrdiff_t* a_rows,
                            const std::ptrdiff_t* a_steps, const T* b, std::ptrdiff_t b_row, T* c,
                            const std::ptrdiff_t* c_rows, bool accumulate);
template <class T>
struct GatherKernel {
  static constexpr int max_rows = 8, max_vectors = 4;

  std::ptrdiff_t lanes, most_vectors;
  std::ptrdiff_t most_rows[max_vectors];       // [columns / lanes - 1]
  GatherTile<T> tiles[max_rows][max_vectors];  // [rows - 1][columns / lanes - 1]
};

// The weight gradient of one plane and some output channels:
//
//   sums[(r*kw + s) * sum_step + o]  +=  sum over i < rows, j < columns of
//                      dy[o*dy_plane + i*dy_row + j] * x[i*x_step + r*x_row + x_offsets[s] + j]
//
// for r < kh, s < kw, o < channels. Without masks_dots a whole vector is readable where the last column
// of x is. The order of the sum depends on the vector length.
template <class T>
struct DotTask {
  const T* dy;
  std::ptrdiff_t dy_row, dy_plane, rows, columns, channels;
  T* sums;
  std::ptrdiff_t sum_step, kh, kw;
  const T* x;
  std::ptrdiff_t x_step, x_row;
  const std::ptrdiff_t* x_offsets;
};

// The same for a 3x3 kernel and an image that is read where it stands, as by ImageFilterTask. At least
// two rows.
template <class T>
struct ImageDotTask {
  const T* dy;
  std::ptrdiff_t dy_row, dy_plane, rows, columns, channels;
  T* sums;
  std::ptrdiff_t sum_step;
  static constexpr std::ptrdiff_t kw = 3;
  const T* x;
  std::ptrdiff_t x_row, x_rows, x_columns;
  const T* zeros;
  std::ptrdiff_t top, left, stride;
};

// The input gradient of 3x3 kernels with stride 2, of some planes of one image:
//
//   x[c*x_plane + i*x_row + j]  =  sum over o < out_channels, r < 3, s < 3 of
//       w[o*w_plane + 9*c + 3*r + s] * cell(o, (first_row + i - r) / 2, (j + pad - s) / 2)   (+ bias[c])
//
// where both divide evenly, for i < rows, j < columns, c < channels. cell(o, r, s) is
// dy[o*dy_plane + r*dy_row + s], or zero outside of dy_rows x dy_columns cells. Padding enters as
// pad = 2 * first_column + (odd_padding ? 0 : 2) + odd_padding.
template <class T>
struct ImageSpreadTask {
  const T* w;
  std::ptrdiff_t w_plane;
  const T* dy;
  std::ptrdiff_t dy_plane, dy_row, dy_rows, dy_columns, out_channels;
  std::ptrdiff_t first_row, first_column;
  bool odd_padding;
  const T* bias;  // or null
  T* x;
  std::ptrdiff_t x_plane, x_row, rows, columns, channels;
};

// The two ends of Winograd's convolution, of tiles of 4x4 results that meet 6x6 cells. Tile (i, j) of a
// channel is number  i*columns + j;  what a tile has for each of the 36 places in it, 6*r + s, is
// `place` elements from one to the next. Of the last tiles in a row whole vectors are read and written.
//
//   to[(6*r + s)*place + i*columns + j]  =  (B' d B)[r][s],
//                        d[r][s] = cells[(4*i + r)*cells_row + offsets[s] + j]    for i < rows, j < columns
template <class T>
struct WinogradCells {
  const T* cells;
  std::ptrdiff_t cells_row;
  const std::ptrdiff_t* offsets;  // 6 of them
  T* to;
  std::ptrdiff_t place, rows, columns;
};

//   y[c*y_plane + (4*i + r)*y_row + 4*j + s]  =  (A' m A)[r][s]  (+ bias[c]),
//                        m[r][s] = products[(6*r + s)*place + c*channel + i*columns + j]
//
// for c < channels and the rows of y less than height, its columns less than width.
template <class T>
struct WinogradProducts {
  const T* products;
  std::ptrdiff_t place, channel, channels, rows, columns;
  const T* bias;  // or null
  T* y;
  std::ptrdiff_t y_plane, y_row, height, width;
};

// to[k*to_row + i]  =  from[i*from_row + k]  for i < rows, k < depth
template <class T>
using TransposeRows = void (*)(const T* from, std::ptrdiff_t from_row, std::ptrdiff_t rows,
                               std::ptrdiff_t depth, T* to, std::ptrdiff_t to_row);

// to[s][r*to_row + i]  =  from[r*from_row + count*i + s]
// for r < rows, i < length, s < count; count is 2 or 4.
template <class T>
using DealRows = void (*)(const T* from, std::ptrdiff_t from_row, std::ptrdiff_t rows,
                          std::ptrdiff_t length, T* const* to, std::ptrdiff_t to_row);

// The reverse, of two:  to[r*to_row + 2*i], to[r*to_row + 2*i + 1]  =  even[r*even_row + i], odd[r*odd_row + i]
template <class T>
using InterleaveRows = void (*)(const T* even, std::ptrdiff_t even_row, const T* odd,
                                std::ptrdiff_t odd_row, std::ptrdiff_t rows, std::ptrdiff_t count,
                                T* to, std::ptrdiff_t to_row);

template <class T>
struct KernelsFor {
  GemmKernels<T> gemm;
  GatherKernel<T> gather;
  TransposeRows<T> transpose_rows;
  DealRows<T> deal_rows, deal_rows_in_four;
  InterleaveRows<T> interleave_rows;
  void (*filter)(const FilterTask<T>&);
  void (*dot_rows)(const DotTask<T>&);
  bool masks_dots;  // dot_rows reads no cell that meets no dy
  void (*filter_channels)(const ChannelFilterTask<T>&) = nullptr;  // null for whole numbers, as the next
  void (*dot_channels)(const ChannelDotTask<T>&) = nullptr;
  void (*spread_tiles)(const WinogradCells<T>&) = nullptr;
  bool (*join_tiles)(const WinogradProducts<T>&) = nullptr;  // false: a tile's sum is not finite

  // Of images that are read where they stand; null without masked loads, and for whole numbers.
  ImageTiles<T> image_tiles = {};
  void (*filter_image)(const ImageFilterTask<T>&) = nullptr;
  std::ptrdiff_t most_cells = 0;          // in planes that 5x5 and 7x7 go down; in others along the rows
  SquareFilters square_filters = {};
  void (*dot_image)(const ImageDotTask<T>&) = nullptr;
  void (*spread_image)(const ImageSpreadTask<T>&) = nullptr;
};

// Rows of a pool, joined cell by cell (+, or the larger or smaller cell):
//
//   out[o]  =  cells[0][o * stride]  join  cells[1][o * stride]  join  ...,  in order
//
//     cells[0] |----------------|     columns of windows: each pointer is a row of the image
//     cells[1] |----------------|
//
//       cells[0] |--------------|     rows of windows: one row, which each pointer begins later
//       cells[1]   |--------------|
//
// for n results of each row; the next row reads cell_step cells further and writes out_step further.
//
// - count >= 1; n * stride cells are read of each of the rows.
// - out overlaps none of them.
struct JoinShape {
  std::ptrdiff_t rows, n, count;
  std::ptrdiff_t cell_step, out_step;
};

template <class Cell, class Value>
using JoinRows = void (*)(const JoinShape& shape, const Cell* const* cells, Value* out);

// Runs of a pool: planes that are one window each.
//
//   out[i]  =  cells[i*step]  join  cells[i*step + 1]  join  ...,  n cells in any order
//
// for i < count. n >= 1. The order depends on the vector length.
template <class Cell, class Value>
using JoinRuns = void (*)(std::ptrdiff_t count, std::ptrdiff_t n, const Cell* cells,
                          std::ptrdiff_t step, Value* out);

template <class T>
struct Joining {
  JoinRows<T, T> every, every_second;  // strides 1 and 2
  JoinRows<T, T> pairs;  // stride 2; what two neighbours give is joined too: cells 2o and 2o + 1
  JoinRuns<T, T> runs;
};

// Square windows of one plane, both ways at once. The first one begins at cell (top, left), which
// may be outside the plane; the cells there count as nothing. Sums are divided, as by DivideRow.
//
// out[r*out_step + o] = joined cells (top + r*stride + i, left + o*stride + j),  i, j < size
//
// for r < rows, o < columns. The cells of a row follow each other. Every window shows a cell of
// the plane. Returns false if there was a NaN among the cells, or a sum that is not finite: then
// `out` may be wrong.
template <class T>
struct PlaneTask {
  const T* cells;
  std::ptrdiff_t row_step, height, width;
  std::ptrdiff_t top, left, size;
  T divisor, inverse;
  T* out;
  std::ptrdiff_t out_step, rows, columns;
};

template <class T>
using JoinPlane = bool (*)(const PlaneTask<T>& task);
template <class T>
struct PlaneKernels {
  static constexpr int most_size = 5, most_stride = 3;
  JoinPlane<T> of[most_size - 1][most_stride];  // [size - 2][stride - 1]; null: none
  JoinPlane<T> of_any_size;  // from 2 up to most_of_any_size, stride 1; or null
  std::ptrdiff_t most_of_any_size, most_cells;  // of the windows; in a plane, for which this pays
};

// Where the cells of a window stand in memory, and which place in the image each of them has.
struct WindowCells {
  std::ptrdiff_t rows, columns;
  std::ptrdiff_t row_step, column_step;      // cells of memory from one to the next
  std::ptrdiff_t row_places, column_places;  // places from one to the next
  std::ptrdiff_t stride;                     // of both, from one window to the next
};

// places[o] = place of the first cell in window o, row by row, that is values[o] or NaN. There is
// one. Reads n * stride cells from the first of each row and column of the windows.
template <class T>
using FindCells = void (*)(std::ptrdiff_t n, const T* cells, const WindowCells& window,
                           const T* values, std::int64_t place, std::int64_t* places);

// The least and the greatest of n >= 1 indices.
struct IndexRange {
  std::int64_t least, greatest;
};
using RangeOfIndices = IndexRange (*)(std::ptrdiff_t n, const std::int64_t* indices);

template <class T>
struct ExtremumKernels {
  Joining<T> maximum, minimum;
  Joining<T> finite_maximum, finite_minimum;         // for rows without NaN
  bool (*all_finite)(std::ptrdiff_t n, const T* cells);  // null for whole numbers; n may be 0
  FindCells<T> find;
  PlaneKernels<T> plane_maximum, plane_minimum;
};

// out[o] = values[o] / divisors[o], given inverses[o] = 1 / divisors[o]. Returns whether all results
// are finite; those that are not may be NaN for infinity. Overlaps only if out == values.
template <class T>
using DivideRow = bool (*)(std::ptrdiff_t n, const T* values, const T* divisors, const T* inverses,
                           T* out);

template <class T>
struct SumKernels {
  Joining<T> sum;
  DivideRow<T> divide;        // null for whole numbers
  DivideRow<T> divide_alike;  // by divisors[0], all values
  PlaneKernels<T> plane_sum;
};

// A base for each type, so that a template finds its own.
struct PoolKernels : ExtremumKernels<float>,
                     ExtremumKernels<double>,
                     ExtremumKernels<std::int8_t>,
                     ExtremumKernels<std::int16_t>,
                     ExtremumKernels<std::int32_t>,
                     ExtremumKernels<std::int64_t>,
                     ExtremumKernels<std::uint8_t>,
                     ExtremumKernels<std::uint16_t>,
                     ExtremumKernels<std::uint32_t>,
                     ExtremumKernels<std::uint64_t>,
                     SumKernels<float>,
                     SumKernels<double>,
                     SumKernels<std::uint64_t> {
  JoinRows<float, double> sum_wide;
  JoinRuns<float, double> sum_runs_wide;
  RangeOfIndices range_of_indices;
};

// Fourier transforms of `lanes` rows of complex numbers at a time: {lanes real parts, lanes imaginary
// parts} are one number of each. A pass of Stockham's algorithm takes the factor `radix` out of
// transforms of radix * parts numbers, `run` of them side by side:
//
//   y[(radix*p + k)*run + q]  =  root(p, k)  *  sum over j of  x[(parts*j + p)*run + q] * exp(-2 pi i j k / radix)
//
// for p < parts, q < run. Roots are those of p = 0, k = 1, 2 ... radix - 1, then of p = 1.
struct FourierPass {
  std::ptrdiff_t radix, parts, run;
  const double* roots;
};

// Sums of the squares of all real and imaginary parts.
struct SpectrumEnergies {
  double spectrum, products;
};

struct FourierKernels {
  static constexpr int least_radix = 2, most_radix = 5;
  std::ptrdiff_t lanes;
  // [radix - least_radix]. Numbers are x_step and y_step elements apart, and their imaginary parts
  // `imaginary` after the real ones: if that is -lanes, of x + lanes and y + lanes, the parts are swapped,
  // which makes it the inverse transform.
  void (*pass[most_radix - least_radix + 1])(const FourierPass& pass, const double* x,
                                             std::ptrdiff_t x_step, double* y, std::ptrdiff_t y_step,
                                             std::ptrdiff_t imaginary);
  // From the transforms of `lanes` columns of complex numbers to those of their real and of their
  // imaginary parts, both of which are symmetric: frequencies 0 ... size/2, of which `lanes` stand
  // together, zeros behind the last; then the same of the next column. spectrum_row elements from
  // `lanes` frequencies to the next.
  void (*part_columns)(std::ptrdiff_t size, const double* columns, double* spectrum,
                       std::ptrdiff_t spectrum_row);
  // And back, multiplied by `scale`.
  void (*join_columns)(std::ptrdiff_t size, double scale, const double* spectrum,
                       std::ptrdiff_t spectrum_row, double* columns);
  // products = spectrum * conjugate of kernel, or added to them; count elements of whole vectors.
  using Multiply = SpectrumEnergies (*)(std::ptrdiff_t count, const double* spectrum,
                                        const double* kernel, double* products);
  Multiply multiply, multiply_add;
};

struct Kernels {
  const char* name;
  KernelsFor<float> f32;
  KernelsFor<double> f64;
  KernelsFor<std::uint64_t> u64;  // whole numbers modulo 2^64
  PoolKernels pool;
  FourierKernels fourier;
};

extern const Kernels kernels_base, kernels_avx2, kernels_avx512;

}  // namespace convpool
