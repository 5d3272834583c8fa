// The weights of a forward convolution as left operands of a matrix product, one for each group.
#pragma once

#include "gemm.hpp"
#include "plan.hpp"

namespace convpool {

template <class T>
class Weights {
 public:
  // Elements of all groups, packed.
  static Index packed_size(const Conv2d& p) {
    return p.groups * left_size<T>(p.group_out(), p.taps());
  }

  // Packs into `memory`, unless the plan has packed weights or reads them in place.
  Weights(const Conv2d& p, const Plan& plan, const T* w, T* memory)
      : w_(w), m_(p.group_out()), k_(p.taps()), in_place_(plan.left_in_place), packed_(memory) {
    if (plan.packed_weights) {
      packed_ = static_cast<const T*>(plan.packed_weights);
    } else if (!in_place_) {
      pack(p, plan.threads, w, memory);
    }
  }

  static void pack(const Conv2d& p, int threads, const T* w, T* memory) {
    const Index m = p.group_out(), k = p.taps();
    for (Index g = 0; g < p.groups; ++g) {
      pack_left(Matrix<T>{w + g * m * k, k, 1}, m, k, memory + g * left_size<T>(m, k), threads);
    }
  }

  LeftOperand<T> group(Index g) const {
    return {{w_ + g * m_ * k_, k_, 1}, in_place_ ? nullptr : packed_ + g * left_size<T>(m_, k_),
            in_place_};
  }

 private:
  const T* w_;
  Index m_, k_;
  bool in_place_;
  const T* packed_;
};

}  // namespace convpool
