// Images where the user keeps them: any strides, zero and negative ones included.
#pragma once

#include "problem.hpp"

namespace convpool {

template <class T>
struct View {
  const T* data;
  Index n, c, h, w;  // strides in elements

  View from(Index image, Index channel) const { return {at(image, channel), n, c, h, w}; }
  const T* at(Index image, Index channel, Index row = 0) const {
    return data + image * n + channel * c + row * h;
  }
};

}  // namespace convpool
