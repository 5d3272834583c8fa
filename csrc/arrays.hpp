// NumPy arrays in and out: which are accepted, in which type a function computes and returns, how
// memory becomes contiguous. Knows pybind11 and NumPy; knows nothing of convolutions.
#pragma once

#include <pybind11/numpy.h>

#include <initializer_list>
#include <optional>
#include <utility>

#include "arguments.hpp"
#include "scratch.hpp"
#include "threads.hpp"
#include "view.hpp"

namespace convpool {

// What the core computes with. Integers of a sum are int64, and wrap modulo 2^64.
enum class Type {
  float32, float64, int8, int16, int32, int64, uint8, uint16, uint32, uint64
};

py::dtype dtype_of(Type type);

// No array at all; py::array() would make one of no elements, which takes 150 ns.
inline py::array no_array() { return py::reinterpret_steal<py::array>(py::handle()); }

py::array new_array(const py::dtype& dtype, const Shape& shape);

// Where a call's temporary arrays live: in scratch memory, which costs no fresh pages, or, if Python
// code sees them, which may keep them, in arrays of their own.
enum class Home { scratch, heap };

// What the core reads: the user's array, or a copy that lives as long as this object.
class Prepared {
 public:
  explicit Prepared(py::array array) : array_(std::move(array)) {}
  // Plain images with channels last, moved before rows.
  Prepared(const py::array& channels_last, const Shape& shape, Type type, int threads, Home home);
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;

  operator const py::array&() const { return array_; }
  const py::array& array() const { return array_; }

 private:
  std::optional<Scratch> memory_;
  py::array array_;
};

bool is_main_thread();

// Asks Python for what the functions above keep. Later, a thread could wait for another's first
// call while it holds the GIL, which that one may need.
void initialize_arrays();

// How integers and complex numbers are taken.
enum class Rule {
  sum,   // integers widen as in numpy.sum
  mean,  // integers become float64
  keep,  // nothing is added
  order  // nothing is added, and complex numbers have no order
};

// In which type a function computes, and which it returns.
struct Numbers {
  py::dtype result;
  Type compute = Type::float32;
  bool is_complex = false;
  bool is_integer = false;  // of a sum
};

bool is_whole(const py::dtype& dtype);

// Whole numbers that a padding value may be: what a double holds exactly, as long as sums are
// modulo 2^64; what fits an element where nothing is summed.
std::pair<double, double> whole_range(const Numbers& numbers);

// Whether an array is C-contiguous, aligned, in native byte order, and of this type.
bool is_plain(const py::array& array, const py::dtype& dtype);

// An array argument as the user gave it. `forcecast` conversions of pybind11 would take strings,
// complex and masked arrays, so nothing is converted here and every type is checked by name.
class Operand {
 public:
  Operand(const char* name, py::handle object);

  const char* name() const { return name_; }
  const py::array& array() const { return array_; }
  Shape shape() const { return {array_.shape(), array_.shape() + array_.ndim()}; }
  Images images(Layout layout) const { return parse_images(name_, shape(), layout); }

  // Whether channels are last in memory too, not in a view of images that have them before rows.
  bool has_channels_last(Layout layout) const;

  // For arrays that numbers_for() has accepted: C-contiguous, aligned, in native byte order, of this
  // type, channels before rows; the array itself where it is all that already.
  Prepared prepared(Type type, Layout layout = Layout::nchw, int threads = 1,
                    Home home = Home::scratch) const;
  // The same, but any strides that are cheap to read stay.
  Prepared strided(Type type, Layout layout, int threads, Home home = Home::scratch) const;
  // The same, but channels stay last.
  Prepared in_place(Type type, Layout layout) const;
  py::array prepared_indices(Layout layout) const;

  // No element is larger in absolute value; for integers.
  double bound() const;

  // Channels before rows, of a complex type; or of the array's own, as a view.
  py::array as_complex(const py::dtype& dtype, Layout layout = Layout::nchw) const;
  py::array channels_first(Layout layout) const;

 private:
  const char* name_;
  py::array array_;
};

Numbers numbers_for(std::initializer_list<const Operand*> operands, py::handle dtype, Rule rule);

// For a sum of that many products, whose absolute values add up to at most `bound`: integers are
// computed in the fastest type that holds every partial sum exactly, and long float32 sums in
// float64, since plain summation of so many would lose digits.
void choose_compute_type(Numbers& numbers, double terms, double bound);

// The array that a function returns: new, or the caller's out=. The core writes to data(), which
// is contiguous and overlaps none of the operands, of which some may be no_array(); finish() converts
// it into place where that is another.
class Result {
 public:
  Result(const Shape& shape, Layout layout, const Numbers& numbers, py::handle out,
         std::initializer_list<const py::array*> operands = {}, Home home = Home::scratch);

  template <class T>
  T* data() {
    return static_cast<T*>(written_.mutable_data());
  }
  const py::array& array() const { return written_; }
  py::object finish(int threads = 1);

  // Instead of data() and finish(): values that exist already, channels before rows.
  py::object assign(py::handle values);

 private:
  py::array returned_;  // what the caller gets
  py::array target_;    // the same memory, channels before rows
  std::optional<Scratch> memory_;
  py::array written_;   // what the core writes: target_, or a temporary
};

template <class T>
const T* data(const py::array& array) {
  return static_cast<const T*>(array.data());
}

// The stride of an axis of size 1 may be anything, even in an array that NumPy calls contiguous.
template <class T>
View<T> view(const py::array& images) {
  const Index n = images.ndim() - 3;
  const auto stride = [&](Index axis) {
    if (axis < 0 || images.shape(axis) == 1) return Index{1};
    return images.strides(axis) / static_cast<Index>(sizeof(T));
  };
  return {data<T>(images), stride(n - 1), stride(n), stride(n + 1), stride(n + 2)};
}

// Releases the GIL, and lets a long computation end with the exception of a signal's handler. Python
// runs those on its main thread only; others do not ask, since to take the GIL while the interpreter
// shuts down would end their thread in the middle of a task. A few microseconds of work, counted in
// multiply-adds or the like, keep the GIL: to let it go and take it again is a tenth of such a call.
class WithoutGil {
 public:
  explicit WithoutGil(double work)
      : check_(work > few && is_main_thread() ? check_signals : nullptr) {
    set_interrupt_check(check_);
    if (work > few) release_.emplace();
  }

 private:
  static void check_signals() {
    py::gil_scoped_acquire with_gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
  static constexpr double few = 4096;
  InterruptCheck check_;  // asked for while the GIL is held
  std::optional<py::gil_scoped_release> release_;
};

// Below this many cells, waking a thread takes longer than it saves.
inline int worthwhile_threads(double cells, int threads) { return cells < 1e5 ? 1 : threads; }

// Calls compute(T()) without the GIL for the type of a sum. Integers are unsigned there, so that
// wrapping around is defined.
template <class Compute>
void run(double work, Type type, Compute compute) {
  const WithoutGil without_gil(work);
  switch (type) {
    case Type::float32: return compute(float());
    case Type::float64: return compute(double());
    default: return compute(std::uint64_t());
  }
}

// Calls compute(T()) without the GIL for any type.
template <class Compute>
void run_any(double work, Type type, Compute compute) {
  const WithoutGil without_gil(work);
  switch (type) {
    case Type::float32: return compute(float());
    case Type::float64: return compute(double());
    case Type::int8: return compute(std::int8_t());
    case Type::int16: return compute(std::int16_t());
    case Type::int32: return compute(std::int32_t());
    case Type::int64: return compute(std::int64_t());
    case Type::uint8: return compute(std::uint8_t());
    case Type::uint16: return compute(std::uint16_t());
    case Type::uint32: return compute(std::uint32_t());
    case Type::uint64: return compute(std::uint64_t());
  }
}

}  // namespace convpool
