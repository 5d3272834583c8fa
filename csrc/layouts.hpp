// Images with channels before rows as images with channels last, and back. Knows how memory is read
// and written in cache lines, nothing of arrays or convolutions.
#pragma once

#include "problem.hpp"

namespace convpool {

// `images` matrices (rows x columns) that follow each other, each transposed to (columns x rows): rows
// are channels and columns pixels, or the other way round. Neither side overlaps the other.
template <class T>
void transpose_images(int threads, Index images, Index rows, Index columns, const T* from, T* to);

}  // namespace convpool
