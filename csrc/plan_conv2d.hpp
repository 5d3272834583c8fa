// The choice of a way to compute a convolution. Computes nothing.
#pragma once

#include "plan.hpp"

namespace convpool {

// What a plan may do to numbers.
struct Leeway {
  // "auto" may take Fourier transforms in float64: results are rounded to a type with fewer digits.
  bool transforms = false;
  // "auto" may take Winograd's tiles: less than the highest precision is enough.
  bool winograd = false;
  // A request for Winograd's tiles may be met: not for whole numbers, whose sums are exact.
  bool rounds = true;
};

// Images of p that Winograd's tiles spoilt, see winograd.hpp: they are planned and computed again like those
// of other calls, with channels before rows.
Conv2d without_tiles(Conv2d p, Index images);

// `request` is the user's algorithm= word.
template <class T>
Plan plan_conv2d(const Conv2d& p, Operation operation, const std::string& request, int threads,
                 Leeway leeway = {});

// Cells of x and y that are moved, if a forward plan does not leave channels last where they are.
Index moved_cells(const Conv2d& p, const Plan& plan);

// Makes a forward plan take weights that were packed before as its weight_panels say.
void use_packed_weights(Plan& plan, const void* packed);

}  // namespace convpool
