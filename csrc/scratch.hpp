// Scratch memory of one call, from arenas that each thread keeps between calls: fresh pages cost
// about a microsecond each to touch first, which is more than packing them full.
#pragma once

#include <cassert>
#include <cstddef>
#include <memory>

#include "problem.hpp"

namespace convpool {

// Uninitialised memory, aligned to a cache line. From 256 KiB on it is whole huge pages, where the system
// has them: small ones, which may be anywhere, share sets of the second-level cache, and layers whose
// packed weights fill most of that took 1.5 times as long.
class Memory {
 public:
  Memory() = default;
  explicit Memory(Index bytes);  // throws std::bad_alloc

  char* data() const { return data_.get(); }
  Index size() const { return size_; }

 private:
  struct Free {
    bool in_huge_pages;
    void operator()(char* data) const;
  };
  std::unique_ptr<char, Free> data_;
  Index size_ = 0;
};

class Scratch {
 public:
  // Bytes that one take() of this many elements uses.
  template <class T>
  static Index bytes(Index count) {
    return (count * Index{sizeof(T)} + line - 1) / line * line;
  }

  // Throws std::bad_alloc. A thread keeps memory for six that live at a time: two operands and a
  // result in another layout, those of an input gradient's phases, what a convolution shares among its
  // threads, and what each of them has for a task. The handler of a signal that interrupts a call may
  // need more, which is freed at once.
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
  int level_;
  Memory own_;  // beyond what the thread keeps
  char* next_;
  [[maybe_unused]] char* end_;  // asserted
};

}  // namespace convpool
