// What the binding files share.
#pragma once

#include <cmath>

#include "arrays.hpp"
#include "threads.hpp"

namespace convpool::bindings {

using Object = const py::object&;

void bind_convolutions(py::module_& module);
void bind_pools(py::module_& module);

// How many threads a call may use.
inline int to_threads(Object threads) {
  return threads.is_none() ? num_threads() : parse_threads("threads", to_index("threads", threads));
}

// Below this many cells, waking a thread takes longer than it saves.
inline int worthwhile_threads(double cells, int threads) { return cells < 1e5 ? 1 : threads; }

// Rounded as numpy.pad would, which fills an array of the type. Checked only, if complex.
inline double to_pad_value(const Numbers& numbers, Object object) {
  if (numbers.is_complex) {
    PyComplex_AsCComplex(object.ptr());
    if (PyErr_Occurred()) {
      PyErr_Clear();
      throw py::type_error("pad_value must be a number, got " + shown(object));
    }
    return 0;
  }
  const double value = to_number("pad_value", object);
  if (is_whole(numbers.result)) {
    const auto [least, most] = whole_range(numbers);
    if (!(value >= least && value <= most) || value != std::floor(value)) {
      throw py::value_error("pad_value must be a whole number that fits the type, got " +
                            shown(object));
    }
  }
  return numbers.compute == Type::float32 ? static_cast<float>(value) : value;
}

struct ScopedThreads {
  explicit ScopedThreads(int threads) : before(set_scoped_num_threads(threads)) {}
  ~ScopedThreads() { set_scoped_num_threads(before); }
  int before;
};

// Complex functions are real ones of the parts; _complex.py puts them together.
template <class... Arguments>
py::object call_complex(int threads, const char* function, const Arguments&... arguments) {
  const ScopedThreads scope(threads);
  return py::module_::import("convpool._complex").attr(function)(arguments...);
}

}  // namespace convpool::bindings
