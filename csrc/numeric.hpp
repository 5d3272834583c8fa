// How numbers of each type add up.
#pragma once

#include <cstdint>
#include <type_traits>

namespace convpool {

// Every type that an array may have; halves, complex and boolean arrays are stored in these.
#define FOR_EACH_TYPE(apply)                                                                    \
  apply(float) apply(double) apply(std::int8_t) apply(std::int16_t) apply(std::int32_t)         \
      apply(std::int64_t) apply(std::uint8_t) apply(std::uint16_t) apply(std::uint32_t)         \
          apply(std::uint64_t)

// Plain loops keep their sums in double; whole numbers wrap modulo 2^64.
template <class T>
using SumOf = std::conditional_t<std::is_integral_v<T>, std::uint64_t, double>;

// A padding value as an element; negative ones reach unsigned types modulo their range.
template <class T>
T element_of(double value) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<std::int64_t>(value));
  } else {
    return static_cast<T>(value);
  }
}

}  // namespace convpool
