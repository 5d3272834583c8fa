#include "scratch.hpp"

#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace convpool {
namespace {

// More than this is given back after the call that needed it.
constexpr std::size_t kept_bytes = std::size_t{32} << 20;

// Huge pages save most first touches of what is new.
constexpr std::size_t page = std::size_t{2} << 20;

class Arena {
 public:
  ~Arena() { release(); }

  char* reserve(std::size_t bytes) {
    if (bytes > size_) {
      release();
      data_ = static_cast<char*>(::operator new(bytes, std::align_val_t{page}));
      size_ = bytes;
#ifdef __linux__
      if (bytes >= page) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
    }
    return data_;
  }

  void give_back() {
    if (size_ > kept_bytes) release();
  }

 private:
  void release() {
    ::operator delete(data_, std::align_val_t{page});
    data_ = nullptr;
    size_ = 0;
  }

  char* data_ = nullptr;
  std::size_t size_ = 0;
};

thread_local Arena arenas[2];
thread_local int alive = 0;

}  // namespace

Scratch::Scratch(Index bytes) {
  assert(alive < 2);
  next_ = arenas[alive].reserve(static_cast<std::size_t>(bytes));
  end_ = next_ + bytes;
  ++alive;
}

Scratch::~Scratch() { arenas[--alive].give_back(); }

}  // namespace convpool
