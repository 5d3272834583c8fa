// Python objects into C++ values and back: numbers, words, arrays. Knows pybind11 and NumPy;
// knows nothing of convolutions. Only bindings.cpp includes this file.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "problem.hpp"

namespace convpool {

namespace py = pybind11;

enum class Type { float32, float64, int64 };

Index to_index(const char* name, py::handle object);
double to_number(const char* name, py::handle object);
std::string to_word(const char* name, py::handle object);
bool to_bool(const char* name, py::handle object);
Pair to_pair(const char* name, py::handle object);
Shape to_shape(const char* name, py::handle object);
Padding to_padding(py::handle object);
Layout to_layout(py::handle object);

// An array argument as the user gave it. `forcecast` conversions of pybind11 would take strings,
// complex and masked arrays, so nothing is converted here and every type is checked by name.
class Operand {
 public:
  Operand(const char* name, py::handle object);

  const char* name() const { return name_; }
  const py::array& array() const { return array_; }
  Shape shape() const { return {array_.shape(), array_.shape() + array_.ndim()}; }
  Images images(Layout layout) const { return parse_images(name_, shape(), layout); }

  // C-contiguous, aligned, in native byte order, of this type, channels before rows; the array
  // itself where it is all that already.
  py::array prepared(Type type, Layout layout = Layout::nchw) const;
  py::array prepared_indices(Layout layout) const;

 private:
  py::array converted(const py::dtype& dtype, Layout layout) const;

  const char* name_;
  py::array array_;
};

// The type of the computation: dtype= if given, else what numpy.result_type gives.
Type common_type(std::initializer_list<const Operand*> operands, py::handle dtype);
Type parse_type(py::handle dtype);

// The array that a function returns: new, or the caller's out=. The core writes to data(), which
// is contiguous and overlaps no operand; finish() copies it to its place where that is another.
class Result {
 public:
  Result(const Shape& shape, Layout layout, Type type, py::handle out,
         std::initializer_list<const py::array*> operands = {});

  template <class T>
  T* data() {
    return static_cast<T*>(written_.mutable_data());
  }
  py::object finish();

 private:
  py::array returned_;  // what the caller gets
  py::array target_;    // the same memory, channels before rows
  py::array written_;   // what the core writes: target_, or a temporary
};

}  // namespace convpool
