// Python objects into C++ values: numbers, words, pairs. Knows pybind11; knows nothing of arrays or
// convolutions.
#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <string_view>

#include "problem.hpp"

namespace convpool {

namespace py = pybind11;

// As Python shows it in messages.
std::string shown(py::handle object);

Index to_index(const char* name, py::handle object);
double to_number(const char* name, py::handle object);
// Valid as long as the object is.
std::string_view to_word(const char* name, py::handle object);
bool to_bool(const char* name, py::handle object);
Pair to_pair(const char* name, py::handle object);
Shape to_shape(const char* name, py::handle object);
Padding to_padding(py::handle object);
Layout to_layout(py::handle object);

py::tuple to_tuple(const Shape& shape);

}  // namespace convpool
