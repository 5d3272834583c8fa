// Which way a convolution is computed, why, and what scratch that takes. Computes nothing.
#pragma once

#include "problem.hpp"

namespace convpool {

enum class Operation { forward, grad_input, grad_weight };
enum class Algorithm { direct, im2col };

struct Plan {
  Algorithm algorithm;
  const char* reason;
  const char* instruction_set;
  Index mr, nr;  // the register tile; 1 x 1 for plain loops

  // im2col only: output pixels whose columns are in memory at once, the distance between rows of
  // columns, and whether the matrix product reads its left operand in place.
  Index pixel_block = 0, columns_ld = 0;
  bool left_in_place = false;
  // im2col only: elements of scratch for the left operand, the columns, the right operand.
  Index left = 0, columns = 0, right = 0;

  Index scratch_bytes = 0;

  const char* name() const { return algorithm == Algorithm::direct ? "direct" : "im2col"; }
};

// The columns of a 1x1 convolution are the image itself.
bool columns_are_input(const Conv2d& p);

// `request` is the user's algorithm= word.
template <class T>
Plan plan_conv2d(const Conv2d& p, Operation operation, const std::string& request);

}  // namespace convpool
