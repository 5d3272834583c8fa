#include "scratch.hpp"

#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace convpool {
namespace {

// What a thread keeps more than this is given back after the call that needed it.
constexpr Index kept_bytes = Index{64} << 20;

constexpr Index huge_page = Index{2} << 20, least_in_huge_pages = huge_page / 8;

std::align_val_t alignment(bool in_huge_pages) {
  constexpr std::size_t line = 64, page = huge_page;
  return std::align_val_t{in_huge_pages ? page : line};
}

constexpr int kept_levels = 6;
thread_local Memory arenas[kept_levels];
thread_local Index all_kept = 0;
thread_local int alive = 0;

}  // namespace

Memory::Memory(Index bytes) : data_(nullptr, {bytes >= least_in_huge_pages}), size_(bytes) {
  const bool in_huge_pages = data_.get_deleter().in_huge_pages;
  if (in_huge_pages) size_ = (bytes + huge_page - 1) / huge_page * huge_page;
  // AddressSanitizer ends the process where a plain new would throw.
  const std::size_t size = static_cast<std::size_t>(size_);
  data_.reset(static_cast<char*>(::operator new(size, alignment(in_huge_pages), std::nothrow)));
  if (!data_) throw std::bad_alloc();
#ifdef __linux__
  if (in_huge_pages) madvise(data_.get(), size, MADV_HUGEPAGE);
#endif
}

void Memory::Free::operator()(char* data) const {
  ::operator delete(data, alignment(in_huge_pages));
}

Scratch::Scratch(Index bytes) : level_(alive) {
  if (level_ >= kept_levels) {
    own_ = Memory(bytes);
    next_ = own_.data();
  } else {
    Memory& arena = arenas[level_];
    if (bytes > arena.size()) {
      all_kept -= arena.size();
      arena = Memory();
      arena = Memory(bytes);
      all_kept += arena.size();
    }
    next_ = arena.data();
  }
  end_ = next_ + bytes;
  ++alive;
}

Scratch::~Scratch() {
  --alive;
  if (level_ < kept_levels && all_kept > kept_bytes) {
    all_kept -= arenas[level_].size();
    arenas[level_] = Memory();
  }
}

}  // namespace convpool
