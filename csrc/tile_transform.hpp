// Fourier transforms of tiles of real numbers. Knows transforms, nothing of convolutions or Python.
#pragma once

#include <vector>

#include "kernels.hpp"
#include "problem.hpp"

namespace convpool {

// Transforms of `height` x `width` real numbers, row by row. Columns are transformed first, two sets of
// `lanes` at a time as the parts of complex numbers; of their spectra, which are symmetric, one half is
// transformed along the rows. A spectrum holds
//
//   frequencies 0 ... lanes-1 of the columns:  {lanes real parts, lanes imaginary parts} for each
//                                              of the `width` frequencies of the rows
//   frequencies lanes ... 2*lanes-1:           the same, and so on up to height/2
//
// Lanes are those of the active instruction set. All functions may be called by several threads.
class TileTransform {
 public:
  TileTransform(const TileTransform&) = delete;
  TileTransform& operator=(const TileTransform&) = delete;

  // Widths are multiples of this.
  static constexpr Index width_unit = 16;

  // Both sizes are even products of 2, 3 and 5.
  static bool suits(Index height, Index width);
  TileTransform(Index height, Index width);

  Index cells() const { return rows_.size * columns_.size; }
  static Index spectrum_size(Index height, Index width);  // not less than the cells
  Index spectrum_size() const { return spectrum_size(columns_.size, rows_.size); }
  // What a transform takes meanwhile.
  static Index scratch_bytes(Index height, Index width);

  void forward(const double* cells, double* spectrum) const;
  // The inverse; overwrites the spectrum.
  void inverse(double* spectrum, double* cells) const;
  // products (+)= spectrum * conjugate of kernel
  SpectrumEnergies multiply(const double* spectrum, const double* kernel, bool accumulate,
                            double* products) const;

 private:
  // The passes of one axis.
  struct Line {
    explicit Line(Index size);
    Index size;
    std::vector<double> roots;
    std::vector<FourierPass> passes;
  };
  // Complex numbers, and elements from one to the next.
  template <class T>
  struct Numbers {
    T* at;
    Index step;
  };

  // `work` and `more` take results between passes. If y is where x is there are two passes at least;
  // or it is where `more` is.
  void transform(const Line& line, Numbers<const double> x, Numbers<double> y, double* work,
                 double* more, bool inverse) const;
  void transform_rows(double* spectrum, bool inverse, double* work, double* more) const;

  const FourierKernels& kernels_;
  Line columns_, rows_;  // along columns: as many numbers as the tile has rows
};

}  // namespace convpool
