// Scratch memory of one call, from arenas that each thread keeps between calls: fresh pages cost
// about a microsecond each to touch first, which is more than packing them full.
#pragma once

#include <cassert>
#include <cstddef>

#include "problem.hpp"

namespace convpool {

class Scratch {
 public:
  // Bytes that one take() of this many elements uses.
  template <class T>
  static Index bytes(Index count) {
    return (count * Index{sizeof(T)} + line - 1) / line * line;
  }

  // Throws std::bad_alloc. Two may live at a time in a thread: what a call shares among its threads,
  // and what each of them has for a task.
  explicit Scratch(Index bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Uninitialised, aligned to a cache line.
  template <class T>
  T* take(Index count) {
    T* taken = reinterpret_cast<T*>(next_);
    next_ += bytes<T>(count);
    assert(next_ <= end_);
    return taken;
  }

 private:
  static constexpr Index line = 64;
  char* next_;
  [[maybe_unused]] char* end_;  // asserted
};

}  // namespace convpool
