#include "arguments.hpp"

#include <algorithm>

namespace convpool {
namespace {

std::string shown(py::handle object) { return py::cast<std::string>(py::repr(object)); }

[[noreturn]] void fail_type(const std::string& message) { throw py::type_error(message); }

bool is_sequence(py::handle object) {
  return PySequence_Check(object.ptr()) && !PyUnicode_Check(object.ptr()) &&
         !PyBytes_Check(object.ptr());
}

std::vector<py::object> items(py::handle object) {
  std::vector<py::object> all;
  for (py::handle item : py::reinterpret_borrow<py::object>(object)) {
    all.push_back(py::reinterpret_borrow<py::object>(item));
  }
  return all;
}

// float32 and float64 pass; other numbers are for later, everything else is a mistake.
Type float_type(const std::string& name, const py::dtype& dtype) {
  const char kind = dtype.kind();
  if (kind == 'f' && dtype.itemsize() == 4) return Type::float32;
  if (kind == 'f' && dtype.itemsize() == 8) return Type::float64;
  const std::string text = py::cast<std::string>(py::str(static_cast<py::object>(dtype)));
  if (std::string("biufc").find(kind) != std::string::npos) {
    throw Unsupported(name + ": dtype " + text +
                      " is not implemented yet; convert to float32 or float64");
  }
  fail_type(name + " must be numeric, got dtype " + text);
}

py::dtype dtype_of(Type type) {
  if (type == Type::int64) return py::dtype::of<Index>();
  return type == Type::float32 ? py::dtype::of<float>() : py::dtype::of<double>();
}

// Axes of an NHWC array in the order of NCHW, or back; also for arrays without a batch.
py::array with_axes(const py::array& array, bool channels_first) {
  const Index last = array.ndim() - 1, rows = last - 2;
  py::list order;
  for (Index axis = 0; axis < rows; ++axis) order.append(axis);
  const Pair spatial = channels_first ? Pair{rows, rows + 1} : Pair{rows + 1, rows + 2};
  if (channels_first) order.append(last);
  for (Index axis : spatial) order.append(axis);
  if (!channels_first) order.append(rows);
  return array.attr("transpose")(order);
}

constexpr int ready = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ |
                      py::detail::npy_api::NPY_ARRAY_ALIGNED_;

bool is_ready(const py::array& array, const py::dtype& dtype) {
  return (array.flags() & ready) == ready && array.dtype().is(dtype);
}

bool overlap(const py::array& a, const py::array& b) {
  // Both ends of the memory between the first and last element, for strides of any sign.
  const auto bounds = [](const py::array& array) {
    const char* low = static_cast<const char*>(array.data());
    const char* high = low + array.itemsize();
    for (Index axis = 0; axis < array.ndim(); ++axis) {
      if (array.shape(axis) == 0) return std::pair{low, low};
      const Index span = (array.shape(axis) - 1) * array.strides(axis);
      (span < 0 ? low : high) += span;
    }
    return std::pair{low, high};
  };
  const auto [a_low, a_high] = bounds(a);
  const auto [b_low, b_high] = bounds(b);
  return a_low < b_high && b_low < a_high;
}

}  // namespace

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

std::string to_word(const char* name, py::handle object) {
  if (!PyUnicode_Check(object.ptr())) {
    fail_type(std::string(name) + " must be a str, got " + shown(object));
  }
  return py::cast<std::string>(object);
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
    const std::string word = to_word("padding", object);
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

Operand::Operand(const char* name, py::handle object) : name_(name) {
  if (!py::isinstance<py::array>(object)) {
    array_ = py::module_::import("numpy").attr("asarray")(object);
    return;
  }
  array_ = py::reinterpret_borrow<py::array>(object);
  const auto& api = py::detail::npy_api::get();
  if (Py_TYPE(object.ptr()) == reinterpret_cast<PyTypeObject*>(api.PyArray_Type_)) return;
  if (py::isinstance(object, py::module_::import("numpy.ma").attr("MaskedArray"))) {
    fail_type(std::string(name) +
              " is a masked array, whose mask would be ignored; fill it first with .filled()");
  }
}

py::array Operand::prepared(Type type, Layout layout) const {
  float_type(name_, array_.dtype());
  return converted(dtype_of(type), layout);
}

py::array Operand::prepared_indices(Layout layout) const {
  const char kind = array_.dtype().kind();
  if (kind != 'i' && kind != 'u') {
    fail_type(std::string(name_) + " must be integers, got dtype " +
              py::cast<std::string>(py::str(static_cast<py::object>(array_.dtype()))));
  }
  const py::array indices = converted(py::dtype::of<Index>(), layout);
  // Unsigned numbers from 2^63 on have become negative, and -1 means "no cell".
  const Index* values = static_cast<const Index*>(indices.data());
  if (kind == 'u' && std::any_of(values, values + indices.size(), [](Index i) { return i < 0; })) {
    throw py::index_error(std::string(name_) + " must be below 2^63");
  }
  return indices;
}

py::array Operand::converted(const py::dtype& dtype, Layout layout) const {
  const bool move_axes = layout == Layout::nhwc && array_.ndim() >= 3;
  const py::array view = move_axes ? with_axes(array_, true) : array_;
  if (is_ready(view, dtype)) return view;
  const auto& api = py::detail::npy_api::get();
  PyObject* made = api.PyArray_FromAny_(view.ptr(), py::dtype(dtype).release().ptr(), 0, 0,
                                        ready | py::detail::npy_api::NPY_ARRAY_FORCECAST_, nullptr);
  if (!made) throw py::error_already_set();
  return py::reinterpret_steal<py::array>(made);
}

Type parse_type(py::handle dtype) {
  const py::object parsed = py::module_::import("numpy").attr("dtype")(dtype);
  return float_type("dtype", py::reinterpret_borrow<py::dtype>(parsed));
}

Type common_type(std::initializer_list<const Operand*> operands, py::handle dtype) {
  Type widest = Type::float32;
  for (const Operand* operand : operands) {
    if (operand && float_type(operand->name(), operand->array().dtype()) == Type::float64) {
      widest = Type::float64;
    }
  }
  return dtype.is_none() ? widest : parse_type(dtype);
}

Result::Result(const Shape& shape, Layout layout, Type type, py::handle out,
               std::initializer_list<const py::array*> operands) {
  const py::dtype dtype = dtype_of(type);
  if (out.is_none()) {
    returned_ = py::array(dtype, shape);
  } else {
    if (!py::isinstance<py::array>(out)) fail_type("out must be an ndarray, got " + shown(out));
    returned_ = py::reinterpret_borrow<py::array>(out);
    if (!returned_.dtype().equal(dtype)) {
      fail_type("out must have dtype " + shown(dtype) + ", got " + shown(returned_.dtype()));
    }
    check_shape("out", {returned_.shape(), returned_.shape() + returned_.ndim()}, shape);
    if (!returned_.writeable()) throw py::value_error("out is read-only");
  }
  const bool move_axes = layout == Layout::nhwc && shape.size() >= 3;
  target_ = move_axes ? with_axes(returned_, true) : returned_;
  bool direct = is_ready(target_, dtype);
  for (const py::array* operand : operands) direct = direct && !overlap(target_, *operand);
  written_ = direct ? target_
                    : py::array(dtype, Shape{target_.shape(), target_.shape() + target_.ndim()});
}

py::object Result::finish() {
  if (!written_.is(target_)) py::module_::import("numpy").attr("copyto")(target_, written_);
  return returned_;
}

}  // namespace convpool
