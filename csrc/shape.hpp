// Sizes of an array's axes.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace convpool {

using Index = std::int64_t;

// As many axes as images and weights have need no heap: a call makes eight shapes.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<Index> sizes) : Shape(sizes.begin(), sizes.end()) {}
  template <class Iterator>
  Shape(Iterator begin, Iterator end) : size_(static_cast<std::size_t>(end - begin)) {
    if (size_ <= few_.size()) {
      std::copy(begin, end, few_.begin());
    } else {
      many_.assign(begin, end);
    }
  }

  void push_back(Index size) {
    if (size_ == few_.size()) many_.assign(few_.begin(), few_.end());
    if (size_ < few_.size()) {
      few_[size_] = size;
    } else {
      many_.push_back(size);
    }
    ++size_;
  }

  std::size_t size() const { return size_; }
  const Index* data() const { return many_.empty() ? few_.data() : many_.data(); }
  const Index* begin() const { return data(); }
  const Index* end() const { return data() + size_; }
  Index operator[](std::size_t axis) const { return data()[axis]; }

  bool operator==(const Shape& other) const {
    return std::equal(begin(), end(), other.begin(), other.end());
  }
  bool operator!=(const Shape& other) const { return !(*this == other); }

 private:
  std::array<Index, 4> few_{};
  std::vector<Index> many_;  // all of them, if they are more
  std::size_t size_ = 0;
};

}  // namespace convpool
