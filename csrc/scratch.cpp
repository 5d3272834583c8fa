#include "scratch.hpp"

#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace convpool {
namespace {

// What a thread keeps more than this is given back after the call that needed it.
constexpr std::size_t kept_bytes = std::size_t{64} << 20;

// Huge pages save most first touches of what is new.
constexpr std::size_t page = std::size_t{2} << 20;

thread_local std::size_t all_kept = 0;

class Arena {
 public:
  ~Arena() { release(); }

  static char* allocate(std::size_t bytes) {
    // AddressSanitizer ends the process where a plain new would throw.
    void* memory = ::operator new(bytes, std::align_val_t{page}, std::nothrow);
    if (!memory) throw std::bad_alloc();
    char* data = static_cast<char*>(memory);
#ifdef __linux__
    if (bytes >= page) madvise(data, bytes, MADV_HUGEPAGE);
#endif
    return data;
  }
  static void free(char* data) { ::operator delete(data, std::align_val_t{page}); }

  char* reserve(std::size_t bytes) {
    if (bytes > size_) {
      release();
      data_ = allocate(bytes);
      size_ = bytes;
      all_kept += bytes;
    }
    return data_;
  }

  void give_back() {
    if (all_kept > kept_bytes) release();
  }

 private:
  void release() {
    free(data_);
    data_ = nullptr;
    all_kept -= size_;
    size_ = 0;
  }

  char* data_ = nullptr;
  std::size_t size_ = 0;
};

constexpr int kept_levels = 5;
thread_local Arena arenas[kept_levels];
thread_local int alive = 0;

}  // namespace

Scratch::Scratch(Index bytes) : level_(alive) {
  const std::size_t size = static_cast<std::size_t>(bytes);
  begin_ = level_ < kept_levels ? arenas[level_].reserve(size) : Arena::allocate(size);
  next_ = begin_;
  end_ = begin_ + bytes;
  ++alive;
}

Scratch::~Scratch() {
  --alive;
  level_ < kept_levels ? arenas[level_].give_back() : Arena::free(begin_);
}

}  // namespace convpool
