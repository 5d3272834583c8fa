#include "arguments.hpp"

#include <vector>

namespace convpool {
namespace {

[[noreturn]] void fail_type(const std::string& message) { throw py::type_error(message); }

bool is_sequence(py::handle object) {
  if (!PySequence_Check(object.ptr()) || PyUnicode_Check(object.ptr()) ||
      PyBytes_Check(object.ptr())) {
    return false;
  }
  const bool sized = PySequence_Size(object.ptr()) >= 0;  // not so for an array without axes
  if (!sized) PyErr_Clear();
  return sized;
}

std::vector<py::object> items(py::handle object) {
  std::vector<py::object> all;
  all.reserve(4);
  for (py::handle item : py::reinterpret_borrow<py::object>(object)) {
    all.push_back(py::reinterpret_borrow<py::object>(item));
  }
  return all;
}

}  // namespace

std::string shown(py::handle object) { return py::cast<std::string>(py::repr(object)); }

Index to_index(const char* name, py::handle object) {
  const py::object number = py::reinterpret_steal<py::object>(PyNumber_Index(object.ptr()));
  if (!number) {
    PyErr_Clear();
    fail_type(std::string(name) + " must be an integer, got " + shown(object));
  }
  const Index value = PyLong_AsLongLong(number.ptr());
  if (value == -1 && PyErr_Occurred()) {
    PyErr_Clear();
    throw py::value_error(std::string(name) + " is out of range: " + shown(object));
  }
  return value;
}

double to_number(const char* name, py::handle object) {
  const double value = PyFloat_AsDouble(object.ptr());
  if (value == -1 && PyErr_Occurred()) {
    PyErr_Clear();
    fail_type(std::string(name) + " must be a number, got " + shown(object));
  }
  return value;
}

std::string_view to_word(const char* name, py::handle object) {
  if (!PyUnicode_Check(object.ptr())) {
    fail_type(std::string(name) + " must be a str, got " + shown(object));
  }
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(object.ptr(), &size);
  if (!text) throw py::error_already_set();
  return {text, static_cast<std::size_t>(size)};
}

bool to_bool(const char* name, py::handle object) {
  const int value = PyObject_IsTrue(object.ptr());
  if (value < 0) {
    PyErr_Clear();
    fail_type(std::string(name) + " must be true or false, got " + shown(object));
  }
  return value != 0;
}

Pair to_pair(const char* name, py::handle object) {
  if (!is_sequence(object)) {
    const Index both = to_index(name, object);
    return {both, both};
  }
  const auto values = items(object);
  if (values.size() != 2) {
    throw py::value_error(std::string(name) + " must be an integer or (height, width), got " +
                          shown(object));
  }
  return {to_index(name, values[0]), to_index(name, values[1])};
}

Shape to_shape(const char* name, py::handle object) {
  if (!is_sequence(object)) {
    fail_type(std::string(name) + " must be a sequence of integers, got " + shown(object));
  }
  Shape shape;
  for (const py::object& size : items(object)) shape.push_back(to_index(name, size));
  return shape;
}

Padding to_padding(py::handle object) {
  const char* accepted =
      "padding must be an integer, (height, width), ((top, bottom), (left, right)), 'valid', "
      "'same', 'same_lower' or 'full', got ";
  Padding padding;
  if (PyUnicode_Check(object.ptr())) {
    const std::string_view word = to_word("padding", object);
    if (word == "valid") return padding;
    if (word == "same") padding.rule = Padding::Rule::same;
    if (word == "same_lower") padding.rule = Padding::Rule::same_lower;
    if (word == "full") padding.rule = Padding::Rule::full;
    if (padding.rule == Padding::Rule::given) throw py::value_error(accepted + shown(object));
    return padding;
  }
  if (!is_sequence(object)) {
    padding.before = padding.after = to_pair("padding", object);
    return padding;
  }
  const auto axes = items(object);
  if (axes.size() != 2 || is_sequence(axes[0]) != is_sequence(axes[1])) {
    throw py::value_error(accepted + shown(object));
  }
  for (int a = 0; a < 2; ++a) {
    if (is_sequence(axes[a])) {
      const auto sides = items(axes[a]);
      if (sides.size() != 2) throw py::value_error(accepted + shown(object));
      padding.before[a] = to_index("padding", sides[0]);
      padding.after[a] = to_index("padding", sides[1]);
    } else {
      padding.before[a] = padding.after[a] = to_index("padding", axes[a]);
    }
  }
  return padding;
}

Layout to_layout(py::handle object) { return parse_layout(to_word("layout", object)); }

py::tuple to_tuple(const Shape& shape) {
  py::tuple sizes(shape.size());
  for (std::size_t axis = 0; axis < shape.size(); ++axis) sizes[axis] = shape[axis];
  return sizes;
}

}  // namespace convpool
