#include "layouts.hpp"

#include <algorithm>

#include "cache.hpp"
#include "dispatch.hpp"
#include "threads.hpp"

namespace convpool {
namespace {

// Few channels, as of photographs, are not worth square blocks: a third of the time.
template <class T, int channels>
void transpose_few(bool to_rows, Index count, const T* __restrict from, T* __restrict to,
                   Index row) {
  for (Index i = 0; i < count; ++i) {
    for (Index c = 0; c < channels; ++c) {
      const Index interleaved = i * channels + c, apart = c * row + i;
      if (to_rows) to[apart] = from[interleaved];
      else to[interleaved] = from[apart];
    }
  }
}

template <class T>
using TransposeFew = void (*)(bool, Index, const T*, T*, Index);
template <class T>
constexpr TransposeFew<T> transpose_few_of[] = {nullptr, transpose_few<T, 1>, transpose_few<T, 2>,
                                                transpose_few<T, 3>, transpose_few<T, 4>};
constexpr Index most_few = 4;

}  // namespace

template <class T>
void transpose_images(int threads, Index images, Index rows, Index columns, const T* from, T* to) {
  // Blocks of the longer side: both ends of a block stay in the first-level cache, which makes cache
  // lines whole before they leave it.
  constexpr Index block_cells = (1 << 14) / sizeof(T), line = 64 / sizeof(T), task_cells = 1 << 15;
  const bool cuts_rows = rows > columns;
  const Index length = std::max(rows, columns), other = std::min(rows, columns);
  if (images == 0 || other == 0) return;
  const Index block = std::max(block_cells / other / line, Index{1}) * line;
  const Index blocks = ceil_div(length, block), total = images * blocks;
  const Index at_once = ceil_div(task_cells, block * other);
  // Of so many columns of the result lines stay in the cache: 2x for planes of 64x64.
  const Index kept = lines_kept(rows * Index{sizeof(T)});
  const Index columns_at_once = std::max(kept / 2, kernels_of<T>().gather.lanes);
  parallel_for(threads, ceil_div(total, at_once), [&](Index task) {
    const Index end = std::min((task + 1) * at_once, total);
    for (Index i = task * at_once; i < end; ++i) {
      const Index image = i / blocks, begin = i % blocks * block;
      const Index count = std::min(block, length - begin);
      const T* const x = from + image * rows * columns;
      T* const y = to + image * rows * columns;
      if (other <= most_few) {
        const Index interleaved = begin * other;
        transpose_few_of<T>[other](cuts_rows, count, x + (cuts_rows ? interleaved : begin),
                                   y + (cuts_rows ? begin : interleaved), length);
      } else if (cuts_rows) {
        for (Index j = 0; j < columns; j += columns_at_once) {
          kernels_of<T>().transpose_rows(x + begin * columns + j, columns, count,
                                         std::min(columns_at_once, columns - j),
                                         y + j * rows + begin, rows);
        }
      } else {
        kernels_of<T>().transpose_rows(x + begin, columns, rows, count, y + begin * rows, rows);
      }
    }
  });
}

template void transpose_images(int, Index, Index, Index, const float*, float*);
template void transpose_images(int, Index, Index, Index, const double*, double*);
template void transpose_images(int, Index, Index, Index, const std::uint64_t*, std::uint64_t*);

}  // namespace convpool
