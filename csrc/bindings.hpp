// What the binding files share.
#pragma once

#include "arrays.hpp"

namespace convpool::bindings {

using Object = const py::object&;

void bind_convolutions(py::module_& module);
void bind_pools(py::module_& module);

inline void check_threads(Object threads) {
  if (!threads.is_none()) convpool::check_threads(to_index("threads", threads));
}

// Rounded as numpy.pad would, which fills an array of the type.
inline double to_pad_value(const Numbers& numbers, Object object) {
  const double value = to_number("pad_value", object);
  if (numbers.is_integer && value != static_cast<double>(static_cast<Index>(value))) {
    throw py::value_error("pad_value must be a whole number for integers, got " + shown(object));
  }
  return numbers.compute == Type::float32 ? static_cast<float>(value) : value;
}

// Complex functions are real ones of the parts; _complex.py puts them together.
template <class... Arguments>
py::object call_complex(const char* function, const Arguments&... arguments) {
  return py::module_::import("convpool._complex").attr(function)(arguments...);
}

}  // namespace convpool::bindings
