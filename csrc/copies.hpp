// Copies of rows, long and short, contiguous and strided. Knows nothing of images.
#pragma once

#include <cstdint>
#include <cstring>

#include "problem.hpp"

namespace convpool {

// Two copies of a fixed size that overlap in the middle: for 7 floats 5x as fast as a call. Words
// are moved one by one, since compilers pass arrays of them by way of the stack.
template <class Word>
void copy_word(const char* from, char* to) {
  Word word;
  std::memcpy(&word, from, sizeof(Word));
  std::memcpy(to, &word, sizeof(Word));
}
template <class Word, std::size_t words = 1>
void copy_both_ends(const char* from, std::size_t bytes, char* to) {
  for (std::size_t i = 0; i < words; ++i) {
    const std::size_t first = i * sizeof(Word), last = bytes - (words - i) * sizeof(Word);
    copy_word<Word>(from + first, to + first);
    copy_word<Word>(from + last, to + last);
  }
}

typedef char Word16 __attribute__((vector_size(16)));

inline void copy_bytes(const void* source, std::size_t bytes, void* target) {
  const char* from = static_cast<const char*>(source);
  char* to = static_cast<char*>(target);
  if (bytes > 64) std::memcpy(to, from, bytes);
  else if (bytes >= 32) copy_both_ends<Word16, 2>(from, bytes, to);
  else if (bytes >= 16) copy_both_ends<Word16>(from, bytes, to);
  else if (bytes >= 8) copy_both_ends<std::uint64_t>(from, bytes, to);
  else if (bytes >= 4) copy_both_ends<std::uint32_t>(from, bytes, to);
  else if (bytes >= 2) copy_both_ends<std::uint16_t>(from, bytes, to);
  else if (bytes == 1) *to = *from;
}

// The strides that layers have are worth loops of their own: 2x for a first layer with stride 2.
template <class T>
void copy_strided(const T* from, Index stride, Index count, T* to) {
  if (stride == 1) {
    copy_bytes(from, count * sizeof(T), to);
  } else if (stride == 2) {
    for (Index i = 0; i < count; ++i) to[i] = from[2 * i];
  } else {
    for (Index i = 0; i < count; ++i) to[i] = from[stride * i];
  }
}

// Rows of `count` elements, each `step` from the one before.
template <class T>
void copy_rows(const T* from, Index step, Index from_row, Index rows, Index count, T* to,
               Index to_row) {
  if (count == 0) return;
  const std::size_t bytes = count * sizeof(T);
  if (step == 1 && bytes >= 32 && bytes <= 64) {
    // The rows of small images: the choice of a size would take as long as the copy.
    for (; rows > 0; --rows, from += from_row, to += to_row) {
      copy_both_ends<Word16, 2>(reinterpret_cast<const char*>(from), bytes,
                                reinterpret_cast<char*>(to));
    }
    return;
  }
  for (; rows > 0; --rows, from += from_row, to += to_row) copy_strided(from, step, count, to);
}

}  // namespace convpool
