#include "tile_transform.hpp"

#include <cassert>
#include <cmath>

#include "dispatch.hpp"
#include "scratch.hpp"

namespace convpool {
namespace {

// Columns, or rows, of complex numbers that are transformed together.
Index line_elements(Index height, Index width) {
  return 2 * active_kernels().fourier.lanes * std::max(height, width);
}

}  // namespace

TileTransform::Line::Line(Index size) : size(size) {
  std::vector<Index> radices;
  Index rest = size;
  for (Index radix : {4, 2, 3, 5}) {
    for (; rest % radix == 0; rest /= radix) radices.push_back(radix);
  }
  assert(rest == 1);
  // In long double: rounding an angle near a whole turn to double moves its sine by up to 4e-16.
  const long double turn = -6.283185307179586476925286766559L;
  Index run = 1;
  std::vector<std::size_t> begins;
  for (Index radix : radices) {
    const Index parts = size / run / radix;
    begins.push_back(roots.size());
    for (Index p = 0; p < parts; ++p) {
      for (Index k = 1; k < radix; ++k) {
        const long double angle = turn * static_cast<long double>(p * k) / (parts * radix);
        roots.push_back(static_cast<double>(std::cos(angle)));
        roots.push_back(static_cast<double>(std::sin(angle)));
      }
    }
    passes.push_back({radix, parts, run, nullptr});
    run *= radix;
  }
  for (std::size_t i = 0; i < passes.size(); ++i) passes[i].roots = roots.data() + begins[i];
}

bool TileTransform::suits(Index height, Index width) {
  if (height < 2 || width < width_unit || height % 2 || width % width_unit) return false;
  for (Index factor : {2, 3, 5}) {
    while (height % factor == 0) height /= factor;
    while (width % factor == 0) width /= factor;
  }
  return height == 1 && width == 1;
}

TileTransform::TileTransform(Index height, Index width)
    : kernels_(active_kernels().fourier), columns_(height), rows_(width) {
  assert(suits(height, width));
}

Index TileTransform::spectrum_size(Index height, Index width) {
  const Index lanes = active_kernels().fourier.lanes;
  return 2 * ceil_div(height / 2 + 1, lanes) * lanes * width;
}

Index TileTransform::scratch_bytes(Index height, Index width) {
  return 3 * Scratch::bytes<double>(line_elements(height, width));
}

void TileTransform::transform(const Line& line, Numbers<const double> x, Numbers<double> y,
                              double* work, double* more, bool inverse) const {
  const Index complex = 2 * kernels_.lanes, first = inverse ? kernels_.lanes : 0;
  const Index imaginary = inverse ? -kernels_.lanes : kernels_.lanes;
  const std::size_t last = line.passes.size() - 1;
  for (std::size_t i = 0; i <= last; ++i) {
    const Numbers<double> to = i == last ? y : Numbers<double>{(last - i) % 2 ? work : more, complex};
    const FourierPass& pass = line.passes[i];
    kernels_.pass[pass.radix - FourierKernels::least_radix](pass, x.at + first, x.step,
                                                            to.at + first, to.step, imaginary);
    x = {to.at, to.step};
  }
}

void TileTransform::transform_rows(double* spectrum, bool inverse, double* work, double* more) const {
  const Index complex = 2 * kernels_.lanes, row = complex * rows_.size;
  for (Index i = 0; i < spectrum_size(); i += row) {
    const Numbers<double> numbers{spectrum + i, complex};
    transform(rows_, {numbers.at, complex}, numbers, work, more, inverse);
  }
}

void TileTransform::forward(const double* cells, double* spectrum) const {
  const Index height = columns_.size, width = rows_.size, complex = 2 * kernels_.lanes;
  Scratch scratch(scratch_bytes(height, width));
  double* const work = scratch.take<double>(line_elements(height, width));
  double* const line = scratch.take<double>(line_elements(height, width));
  for (Index column = 0; column < width; column += complex) {
    transform(columns_, {cells + column, width}, {line, complex}, work, line, false);
    kernels_.part_columns(height, line, spectrum + complex * column, complex * width);
  }
  transform_rows(spectrum, false, work, line);
}

void TileTransform::inverse(double* spectrum, double* cells) const {
  const Index height = columns_.size, width = rows_.size, complex = 2 * kernels_.lanes;
  Scratch scratch(scratch_bytes(height, width));
  double* const work = scratch.take<double>(line_elements(height, width));
  double* const line = scratch.take<double>(line_elements(height, width));
  double* const more = scratch.take<double>(line_elements(height, width));
  transform_rows(spectrum, true, work, more);
  const double scale = 1 / static_cast<double>(this->cells());
  for (Index column = 0; column < width; column += complex) {
    kernels_.join_columns(height, scale, spectrum + complex * column, complex * width, line);
    transform(columns_, {line, complex}, {cells + column, width}, work, more, true);
  }
}

SpectrumEnergies TileTransform::multiply(const double* spectrum, const double* kernel,
                                         bool accumulate, double* products) const {
  const auto function = accumulate ? kernels_.multiply_add : kernels_.multiply;
  return function(spectrum_size(), spectrum, kernel, products);
}

}  // namespace convpool
