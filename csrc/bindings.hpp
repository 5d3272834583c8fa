// What the binding files share.
#pragma once

#include <cmath>
#include <utility>
#ifdef __GLIBCXX__
#include <cxxabi.h>
#endif

#include "arrays.hpp"
#include "threads.hpp"

namespace convpool::bindings {

using Object = py::handle;  // borrowed: Python keeps arguments alive during a call

// A function of the compiled module that takes its arguments by position alone. Python calls it
// directly; pybind11's dispatcher, which knows overloads and conversions, takes 0.4 us for the
// arguments of conv2d.
template <auto function>
struct ByPosition;

template <class... Arguments, class Return, Return (*function)(Arguments...)>
struct ByPosition<function> {
  static PyObject* call(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    constexpr Py_ssize_t expected = sizeof...(Arguments);
    if (count != expected) {
      return PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", expected, count);
    }
    try {
      return call_with(arguments, std::index_sequence_for<Arguments...>());
    } catch (py::error_already_set& error) {
      error.restore();
#ifdef __GLIBCXX__
    } catch (abi::__forced_unwind&) {  // the end of a thread, which must go on
      throw;
#endif
    } catch (...) {
      py::detail::try_translate_exceptions();
    }
    return nullptr;
  }

 private:
  template <std::size_t... i>
  static PyObject* call_with(PyObject* const* arguments, std::index_sequence<i...>) {
    return function(Arguments(arguments[i])...).release().ptr();
  }
};

template <auto function>
PyMethodDef by_position(const char* name) {
  const auto erased = reinterpret_cast<void (*)()>(ByPosition<function>::call);
  return {name, reinterpret_cast<PyCFunction>(erased), METH_FASTCALL, nullptr};
}

// `functions` end with an empty one, and live as long as the module.
inline void add_functions(py::module_& module, PyMethodDef* functions) {
  if (PyModule_AddFunctions(module.ptr(), functions) != 0) throw py::error_already_set();
}

void bind_columns(py::module_& module);
void bind_convolutions(py::module_& module);
void bind_pools(py::module_& module);
void bind_transforms(py::module_& module);

// How many threads a call may use.
inline int to_threads(Object threads) {
  return threads.is_none() ? num_threads() : parse_threads("threads", to_index("threads", threads));
}

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

inline Geometry to_geometry(Object stride, Object padding, Object dilation, Object groups,
                            Object pad_mode) {
  Geometry geometry;
  geometry.stride = to_pair("stride", stride);
  geometry.padding = to_padding(padding);
  geometry.dilation = to_pair("dilation", dilation);
  geometry.groups = to_index("groups", groups);
  geometry.pad_mode = parse_pad_mode(to_word("pad_mode", pad_mode));
  return geometry;
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
