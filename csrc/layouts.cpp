#include "layouts.hpp"

#include <algorithm>

#include "dispatch.hpp"
#include "threads.hpp"

namespace convpool {

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
  parallel_for(threads, ceil_div(total, at_once), [&](Index task) {
    const Index end = std::min((task + 1) * at_once, total);
    for (Index i = task * at_once; i < end; ++i) {
      const Index image = i / blocks, begin = i % blocks * block;
      const Index count = std::min(block, length - begin);
      const T* const x = from + image * rows * columns;
      T* const y = to + image * rows * columns;
      if (cuts_rows) {
        kernels_of<T>().transpose_rows(x + begin * columns, columns, count, columns, y + begin, rows);
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
