#include "arrays.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

#include "layouts.hpp"

namespace convpool {

bool is_whole(const py::dtype& dtype) {
  return dtype.kind() == 'b' || dtype.kind() == 'i' || dtype.kind() == 'u';
}

namespace {

[[noreturn]] void fail_type(const std::string& message) { throw py::type_error(message); }

std::string text(const py::dtype& dtype) {
  return py::cast<std::string>(py::str(static_cast<py::object>(dtype)));
}

bool is_half(const py::dtype& dtype) {
  if (dtype.kind() == 'f') return dtype.itemsize() == 2;
  return dtype.kind() == 'V' && text(dtype) == "bfloat16";
}

void check_numeric(const char* argument, const py::dtype& dtype) {
  const char kind = dtype.kind();
  if (kind == 'f' && dtype.itemsize() <= 8) return;
  const std::string name = argument;
  if (is_whole(dtype) || is_half(dtype)) return;
  if (kind == 'c' && dtype.itemsize() <= 16) return;
  if (kind == 'f' || kind == 'c') {
    throw Unsupported(name + ": dtype " + text(dtype) +
                      " is not implemented; convert to float64 or complex128");
  }
  fail_type(name + " must be numeric, got dtype " + text(dtype));
}

py::module_ numpy() { return py::module_::import("numpy"); }

// As numpy.dtype reads it.
py::dtype to_dtype(py::handle object) {
  if (py::isinstance<py::dtype>(object)) return py::reinterpret_borrow<py::dtype>(object);
  return py::cast<py::dtype>(numpy().attr("dtype")(object));
}

// The type that holds elements of `dtype` as they are; halves are computed in float32.
Type stored_type(const py::dtype& dtype) {
  const auto size = dtype.itemsize();
  switch (is_half(dtype) ? 'h' : dtype.kind()) {
    case 'h': return Type::float32;
    case 'f': return size == 4 ? Type::float32 : Type::float64;
    case 'c': return size == 8 ? Type::float32 : Type::float64;
    case 'i':
      return size == 1 ? Type::int8 : size == 2 ? Type::int16 : size == 4 ? Type::int32
                                                                          : Type::int64;
    default:
      return size == 1 ? Type::uint8 : size == 2 ? Type::uint16 : size == 4 ? Type::uint32
                                                                            : Type::uint64;
  }
}

py::dtype common_dtype(std::initializer_list<const Operand*> operands) {
  const py::dtype first = (*operands.begin())->array().dtype();
  bool same = first.byteorder() != '>';  // result_type makes others native
  for (const Operand* operand : operands) {
    if (!operand) continue;
    const py::dtype dtype = operand->array().dtype();
    check_numeric(operand->name(), dtype);
    same = same && dtype.is(first);
  }
  if (same) return first;
  py::list dtypes;
  for (const Operand* operand : operands) {
    if (operand) dtypes.append(operand->array().dtype());
  }
  return py::cast<py::dtype>(numpy().attr("result_type")(*dtypes));
}

// Images with their axes in the order of NCHW; also without a batch. Not other arrays, as a bias.
py::array with_channels_first(const py::array& array, Layout layout) {
  if (layout == Layout::nchw || array.ndim() < 3) return array;
  const Index last = array.ndim() - 1, rows = last - 2;
  py::list order;
  for (Index axis = 0; axis < rows; ++axis) order.append(axis);
  for (Index axis : {last, rows, rows + 1}) order.append(axis);
  return array.attr("transpose")(order);
}

using Api = py::detail::npy_api;
constexpr int contiguous = Api::NPY_ARRAY_C_CONTIGUOUS_, aligned = Api::NPY_ARRAY_ALIGNED_;

bool is_ready(const py::array& array, const py::dtype& dtype, int flags) {
  return (array.flags() & flags) == flags && array.dtype().is(dtype);
}

// Strides that the core follows: whole elements, and rows whose cells are near each other; a copy
// of far ones is cheaper than reading each cache line once for every tap.
bool is_cheap_to_read(const py::array& images) {
  const Index size = images.itemsize(), last = images.ndim() - 1;
  for (Index axis = 0; axis <= last; ++axis) {
    if (images.strides(axis) % size != 0) return false;
  }
  return std::abs(images.strides(last)) <= 2 * size;
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

using namespace py::literals;

// Overflow and the like are silent where no conversion is needed, so they are in conversions.
class Silence {
 public:
  Silence() : state_(numpy().attr("errstate")("all"_a = "ignore")) {
    state_.attr("__enter__")();
  }
  ~Silence() {
    py::error_scope kept;
    state_.attr("__exit__")(py::none(), py::none(), py::none());
  }

 private:
  py::object state_;
};

py::array to_array(const char* name, py::handle object) {
  if (Py_TYPE(object.ptr()) == Api::get().PyArray_Type_) {
    return py::reinterpret_borrow<py::array>(object);
  }
  if (!py::isinstance<py::array>(object)) {
    try {
      return numpy().attr("asarray")(object);
    } catch (py::error_already_set& error) {
      if (!error.matches(PyExc_ValueError)) throw;
      throw py::value_error(std::string(name) + ": " + py::cast<std::string>(py::str(error.value())));
    }
  }
  if (py::isinstance(object, py::module_::import("numpy.ma").attr("MaskedArray"))) {
    fail_type(std::string(name) +
              " is a masked array, whose mask would be ignored; fill it first with .filled()");
  }
  return py::reinterpret_borrow<py::array>(object);
}

// C-contiguous, aligned, in native byte order, of this type; the array itself if it is that.
py::array plain(const py::array& array, const py::dtype& dtype) {
  if (is_plain(array, dtype)) return array;
  const Silence silence;
  PyObject* made = Api::get().PyArray_FromAny_(
      array.ptr(), py::dtype(dtype).release().ptr(), 0, 0,
      contiguous | aligned | Api::NPY_ARRAY_FORCECAST_, nullptr);
  if (!made) throw py::error_already_set();
  return py::reinterpret_steal<py::array>(made);
}

// Types whose layout the core changes, faster than NumPy.
constexpr Type transposable[] = {Type::float32, Type::float64, Type::int64};
bool is_transposable(Type type) {
  return std::find(std::begin(transposable), std::end(transposable), type) != std::end(transposable);
}
std::optional<Type> transposable_type(const py::dtype& dtype) {
  for (Type type : transposable) {
    if (dtype.is(dtype_of(type))) return type;
  }
  return {};
}

// From one plain array of images to another, with their channels before rows or after them.
void move_channels(const py::array& from, bool channels_first, Type type, int threads,
                   py::array& to) {
  const Index last = from.ndim() - 1, images = from.ndim() == 4 ? from.shape(0) : 1;
  const Index first_axis = from.shape(last - 2), last_axis = from.shape(last);
  const Index middle = from.shape(last - 1);
  const Index rows = channels_first ? first_axis * middle : first_axis;
  const Index columns = channels_first ? last_axis : middle * last_axis;
  const double cells = static_cast<double>(from.size());
  run(cells, type, [&](auto zero) {
    using T = decltype(zero);
    transpose_images(worthwhile_threads(cells, threads), images, rows, columns, data<T>(from),
                     static_cast<T*>(to.mutable_data()));
  });
}

// The caller's out=, if it can be the result.
py::array checked_out(py::handle out, const py::dtype& dtype, const Shape& shape) {
  if (!py::isinstance<py::array>(out)) fail_type("out must be an ndarray, got " + shown(out));
  const py::array array = py::reinterpret_borrow<py::array>(out);
  if (!array.dtype().equal(dtype)) {
    fail_type("out must have dtype " + text(dtype) + ", got " + text(array.dtype()));
  }
  check_shape("out", {array.shape(), array.shape() + array.ndim()}, shape);
  if (!array.writeable()) throw py::value_error("out is read-only");
  return array;
}

}  // namespace

bool is_plain(const py::array& array, const py::dtype& dtype) {
  return is_ready(array, dtype, contiguous | aligned);
}

namespace {

// Of NumPy's memory, or of this.
py::array array_of(const py::dtype& dtype, const Shape& shape, void* memory) {
  std::array<Py_intptr_t, 4> sizes{};
  assert(shape.size() <= sizes.size());
  std::copy(shape.begin(), shape.end(), sizes.begin());
  // Without strides, unlike py::array(), which saves NumPy's look at them.
  const Api& api = Api::get();
  PyObject* const made =
      api.PyArray_NewFromDescr_(api.PyArray_Type_, py::dtype(dtype).release().ptr(),
                                static_cast<int>(shape.size()), sizes.data(), nullptr, memory,
                                memory ? contiguous | aligned | Api::NPY_ARRAY_WRITEABLE_ : 0, nullptr);
  if (!made) throw py::error_already_set();
  return py::reinterpret_steal<py::array>(made);
}

py::array temporary_array(const py::dtype& dtype, const Shape& shape, Home home,
                          std::optional<Scratch>& memory) {
  if (home == Home::heap) return new_array(dtype, shape);
  Index bytes = dtype.itemsize();
  for (Index size : shape) bytes *= size;
  memory.emplace(Scratch::bytes<char>(bytes));
  return array_of(dtype, shape, memory->take<char>(bytes));
}

}  // namespace

py::array new_array(const py::dtype& dtype, const Shape& shape) {
  return array_of(dtype, shape, nullptr);
}

py::dtype dtype_of(Type type) {
  static const py::dtype* const dtypes = new py::dtype[10]{  // in the order of Type
      py::dtype::of<float>(),         py::dtype::of<double>(),        py::dtype::of<std::int8_t>(),
      py::dtype::of<std::int16_t>(),  py::dtype::of<std::int32_t>(),  py::dtype::of<std::int64_t>(),
      py::dtype::of<std::uint8_t>(),  py::dtype::of<std::uint16_t>(), py::dtype::of<std::uint32_t>(),
      py::dtype::of<std::uint64_t>()};
  return dtypes[static_cast<int>(type)];
}

bool is_main_thread() {
  static const unsigned long main_thread = py::cast<unsigned long>(
      py::module_::import("threading").attr("main_thread")().attr("ident"));
  return PyThread_get_thread_ident() == main_thread;
}

void initialize_arrays() {
  dtype_of(Type::float32);
  is_main_thread();
}

Operand::Operand(const char* name, py::handle object)
    : name_(name), array_(to_array(name, object)) {}

py::array Operand::channels_first(Layout layout) const {
  return with_channels_first(array_, layout);
}

bool Operand::has_channels_last(Layout layout) const {
  if (layout == Layout::nchw || array_.size() == 0) return false;
  const Index last = array_.ndim() - 1, rows = last - 2;
  Index stride = array_.itemsize();
  for (Index axis : {rows + 1, rows, last, rows - 1}) {
    if (axis < 0 || array_.shape(axis) == 1) continue;
    if (array_.strides(axis) != stride) return true;
    stride *= array_.shape(axis);
  }
  return false;
}

Prepared::Prepared(const py::array& channels_last, const Shape& shape, Type type, int threads,
                   Home home)
    : array_(temporary_array(dtype_of(type), shape, home, memory_)) {
  move_channels(channels_last, true, type, threads, array_);
}

Prepared Operand::prepared(Type type, Layout layout, int threads, Home home) const {
  const py::array view = channels_first(layout);
  const py::dtype dtype = dtype_of(type);
  if (is_plain(view, dtype)) return Prepared(view);
  if (view.is(array_) || !is_transposable(type)) return Prepared(plain(view, dtype));
  return Prepared(plain(array_, dtype), {view.shape(), view.shape() + view.ndim()}, type, threads,
                  home);
}

Prepared Operand::strided(Type type, Layout layout, int threads, Home home) const {
  const py::array view = channels_first(layout);
  const py::dtype dtype = dtype_of(type);
  if (is_ready(view, dtype, aligned) && is_cheap_to_read(view)) return Prepared(view);
  return prepared(type, layout, threads, home);
}

Prepared Operand::in_place(Type type, Layout layout) const {
  return Prepared(with_channels_first(plain(array_, dtype_of(type)), layout));
}

py::array Operand::as_complex(const py::dtype& dtype, Layout layout) const {
  const Silence silence;
  return channels_first(layout).attr("astype")(dtype, "copy"_a = false);
}

py::array Operand::prepared_indices(Layout layout) const {
  const char kind = array_.dtype().kind();
  if (kind != 'i' && kind != 'u') {
    fail_type(std::string(name_) + " must be integers, got dtype " + text(array_.dtype()));
  }
  const py::array indices = plain(channels_first(layout), py::dtype::of<Index>());
  // Unsigned numbers from 2^63 on have become negative, and -1 means "no cell".
  const Index* values = data<Index>(indices);
  if (kind == 'u' && std::any_of(values, values + indices.size(), [](Index i) { return i < 0; })) {
    throw py::index_error(std::string(name_) + " must be below 2^63");
  }
  return indices;
}

double Operand::bound() const {
  const py::dtype dtype = array_.dtype();
  if (array_.size() == 0) return 0;
  if (dtype.kind() == 'b') return 1;
  if (dtype.itemsize() <= 2) return std::ldexp(1, 8 * static_cast<int>(dtype.itemsize()));
  const double low = py::cast<double>(py::float_(array_.attr("min")()));
  const double high = py::cast<double>(py::float_(array_.attr("max")()));
  return std::max(std::abs(low), std::abs(high));
}

Numbers numbers_for(std::initializer_list<const Operand*> operands, py::handle dtype, Rule rule) {
  Numbers numbers;
  const py::dtype common = operands.size() > 0 ? common_dtype(operands) : to_dtype(dtype);
  numbers.result = common;
  if (!dtype.is_none()) {
    numbers.result = to_dtype(dtype);
    check_numeric("dtype", numbers.result);
    const bool whole = is_whole(common) && is_whole(numbers.result);
    const bool castable =
        numbers.result.is(common) ||
        py::cast<bool>(numpy().attr("can_cast")(common, numbers.result, "same_kind"));
    const bool loses_parts = common.kind() == 'c' && numbers.result.kind() != 'c';
    if ((!castable && !whole) || loses_parts) {
      fail_type("dtype " + text(numbers.result) + " cannot hold results of " + text(common));
    }
    if (rule == Rule::mean && is_whole(numbers.result)) {
      fail_type("dtype of an average must be floating or complex, got " + text(numbers.result));
    }
  } else if (is_whole(common) && rule == Rule::sum) {
    const bool wide = common.itemsize() == 8;
    if (!wide) numbers.result = dtype_of(common.kind() == 'u' ? Type::uint64 : Type::int64);
  } else if (is_whole(common) && rule == Rule::mean) {
    numbers.result = dtype_of(Type::float64);
  }
  numbers.is_complex = numbers.result.kind() == 'c';
  if (numbers.is_complex && rule == Rule::order) {
    fail_type("complex numbers have no order, got dtype " + text(common));
  }
  numbers.compute = stored_type(numbers.result);
  numbers.is_integer = rule == Rule::sum && is_whole(numbers.result);
  if (numbers.is_integer) numbers.compute = Type::int64;
  return numbers;
}

std::pair<double, double> whole_range(const Numbers& numbers) {
  const double exact = std::ldexp(1, 53);
  if (numbers.is_integer) return {-exact, exact};
  const char kind = numbers.result.kind();
  if (kind == 'b') return {0, 1};
  const int bits = 8 * static_cast<int>(numbers.result.itemsize());
  if (kind == 'u') return {0, std::min(exact, std::ldexp(1, bits) - 1)};
  const double most = std::min(exact, std::ldexp(1, bits - 1) - 1);
  return {-most - 1, most};
}

void choose_compute_type(Numbers& numbers, double terms, double bound) {
  constexpr double many = 1 << 14;
  if (numbers.is_integer) {
    numbers.compute = bound <= std::ldexp(1, 24)   ? Type::float32
                      : bound < std::ldexp(1, 53) ? Type::float64
                                                   : Type::int64;
  } else if (numbers.compute == Type::float32 && terms > many) {
    numbers.compute = Type::float64;
  }
}

Result::Result(const Shape& shape, Layout layout, const Numbers& numbers, py::handle out,
               std::initializer_list<const py::array*> operands, Home home)
    : returned_(out.is_none() ? new_array(numbers.result, shape)
                              : checked_out(out, numbers.result, shape)),
      target_(with_channels_first(returned_, layout)),
      written_(no_array()) {
  const py::dtype compute = numbers.is_complex ? numbers.result : dtype_of(numbers.compute);
  bool direct = is_plain(target_, compute);
  for (const py::array* operand : operands) {
    direct = direct && (out.is_none() || !*operand || !overlap(target_, *operand));
  }
  const Shape written{target_.shape(), target_.shape() + target_.ndim()};
  written_ = direct ? target_ : temporary_array(compute, written, home, memory_);
}

py::object Result::finish(int threads) {
  if (written_.is(target_)) return returned_;
  const std::optional<Type> type = transposable_type(written_.dtype());
  if (!target_.is(returned_) && type && is_plain(returned_, written_.dtype())) {
    move_channels(written_, false, *type, threads, returned_);
    return returned_;
  }
  const Silence silence;
  // Exact whole numbers in a floating type narrow modulo their range only by way of int64.
  const bool narrows = written_.dtype().kind() == 'f' && is_whole(target_.dtype());
  const py::object source = narrows ? written_.attr("astype")("int64") : written_;
  numpy().attr("copyto")(target_, source, "casting"_a = "unsafe");
  return returned_;
}

py::object Result::assign(py::handle values) {
  numpy().attr("copyto")(target_, values);
  return returned_;
}

}  // namespace convpool
