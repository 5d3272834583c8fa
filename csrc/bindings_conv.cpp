// Convolutions: five steps a function. Take the arrays, make the problem, get the result's memory,
// release the GIL and compute, return. Arguments come by position from conv.py.

#include <cmath>
#include <mutex>
#include <vector>

#include "bindings.hpp"
#include "bindings_fft.hpp"
#include "conv2d.hpp"
#include "plan_conv2d.hpp"
#include "plan_im2col.hpp"
#include "scratch.hpp"
#include "weights.hpp"

namespace convpool::bindings {
namespace {

Plan plan_for(const Numbers& numbers, const Conv2d& p, Operation operation,
              std::string_view algorithm, int threads, Leeway leeway) {
  const std::string request(algorithm);
  switch (numbers.compute) {
    case Type::float32: return plan_conv2d<float>(p, operation, request, threads, leeway);
    case Type::float64: return plan_conv2d<double>(p, operation, request, threads, leeway);
    default: return plan_conv2d<std::uint64_t>(p, operation, request, threads);
  }
}

Leeway leeway_for(const Numbers& numbers, bool less_precision) {
  return {may_transform(numbers), less_precision, !numbers.is_integer};
}

// Whether transforms computed the result, if the plan says so. Numbers that they cannot compute are
// planned again.
template <class Transforms>
bool transformed(Plan& plan, const Numbers& numbers, const Conv2d& p, Operation operation,
                 int threads, const Transforms& by_fft) {
  if (plan.algorithm != Algorithm::fft) return false;
  if (by_fft()) return true;
  Conv2d moved = p;  // arrays that are not where the user has them
  moved.channels_last = false;
  plan = plan_for(numbers, moved, operation, "auto", threads, {});
  return false;
}

// Largest sum of `terms` products, for whole numbers; floating ones need no bound.
double bound_of(const Numbers& numbers, double terms, const Operand& a, const Operand& b,
                const Operand* bias = nullptr, double pad_value = 0) {
  if (!numbers.is_integer) return 0;
  return terms * std::max(a.bound(), std::abs(pad_value)) * std::max(b.bound(), 1.0) +
         (bias ? bias->bound() : 0);
}

Shape result_shape(const Images& images, const Conv2d& p) {
  return with_channels(images, p.out_channels, p.h.out, p.w.out).shape();
}

// Multiply-adds, or cells where these are more.
double work_of(const Conv2d& p) {
  const double in = static_cast<double>(p.in_channels) * p.in_plane();
  const double out = static_cast<double>(p.out_channels) * p.pixels();
  return static_cast<double>(p.batch) * std::max({p.image_multiply_adds(), in, out});
}

// An optional vector of one number a channel.
struct Bias {
  Bias(Object object) {
    if (!object.is_none()) operand.emplace("bias", object);
  }
  const Operand* pointer() const { return operand ? &*operand : nullptr; }
  void check(Index channels) const {
    if (operand) check_shape("bias", operand->shape(), {channels});
  }
  void prepare(Type type) {
    if (operand) array = operand->prepared(type).array();
  }
  template <class T>
  const T* values() const {
    return operand ? data<T>(array) : nullptr;
  }

  std::optional<Operand> operand;
  py::array array = no_array();
};

// Weights that prepare_conv2d keeps, which conv2d takes in the place of an array. They are packed
// when an image first asks for a form, and stay so.
class PackedWeight {
 public:
  PackedWeight(py::array array, Index groups) : array_(std::move(array)), groups_(groups) {}

  const py::array& array() const { return array_; }

  // `weight` is the array in the type of the call.
  void use(const Conv2d& p, Type type, const py::array& weight, Plan& plan) {
    if (!plan.takes_packed_weights() || p.groups != groups_) return;
    const void* packed = find(type, plan.weight_panels);
    if (!packed) packed = pack(p, type, weight, plan.weight_panels, plan.threads);
    use_packed_weights(plan, packed);
  }

 private:
  struct Form {
    Type type;
    WeightPanels panels;
    Memory packed;
  };

  const void* find(Type type, const WeightPanels& panels) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const Form& form : forms_) {
      if (form.type == type && form.panels == panels) return form.packed.data();
    }
    return nullptr;
  }

  // Another thread may do the same meanwhile.
  const void* pack(const Conv2d& p, Type type, const py::array& weight,
                   const WeightPanels& panels, int threads) {
    Form form{type, panels, {}};
    run(static_cast<double>(p.out_channels * p.taps()), type, [&](auto zero) {
      using T = decltype(zero);
      const Index size = packed_size<T>(p, panels);
      form.packed = Memory(Scratch::bytes<T>(size));
      Weights<T>::pack(p, WeightView<T>::contiguous(p, data<T>(weight)), panels, threads,
                       reinterpret_cast<T*>(form.packed.data()));
    });
    if (const void* other = find(type, panels)) return other;
    const std::lock_guard<std::mutex> lock(mutex_);
    return forms_.emplace_back(std::move(form)).packed.data();
  }

  py::array array_;
  Index groups_;
  std::mutex mutex_;
  std::vector<Form> forms_;
};

// Python's class, which has no subclasses: asking pybind11 takes 0.1 us.
PyTypeObject* packed_weight_type = nullptr;

py::object pack_weight(Object weight_object, Object groups_object, Object dtype) {
  const Operand weight("weight", weight_object);
  numbers_for({&weight}, dtype, Rule::sum);
  const Conv2d p = make_weights(weight.shape(), to_index("groups", groups_object));
  return py::cast(std::make_unique<PackedWeight>(weight.array().attr("copy")(), p.groups));
}

// How arrays are asked for: as they are in memory, where channels stay last.
Layout order_of(const Plan& plan, Layout layout) {
  return plan.writes_channels_last ? Layout::nchw : layout;
}

// A 1x1 convolution reads the image as a matrix, which takes rows that follow each other.
Prepared prepared_images(const Operand& x, const Conv2d& p, const Plan& plan, Type type, Layout layout,
                         Home home) {
  if (plan.reads_channels_last) return x.in_place(type, layout);
  return columns_are_input(p) ? x.prepared(type, layout, plan.threads, home)
                              : x.strided(type, layout, plan.threads, home);
}

py::object conv2d(Object x_object, Object weight_object, Object bias_object, Object stride,
                  Object padding, Object dilation, Object groups, Object pad_mode,
                  Object pad_value, Object layout_word, Object dtype, Object precision,
                  Object algorithm, Object threads, Object out) {
  const bool is_packed = Py_TYPE(weight_object.ptr()) == packed_weight_type;
  PackedWeight* const prepared = is_packed ? weight_object.cast<PackedWeight*>() : nullptr;
  const Operand x("x", x_object);
  const Operand weight("weight", prepared ? Object(prepared->array()) : weight_object);
  Bias bias(bias_object);
  Numbers numbers = numbers_for({&x, &weight, bias.pointer()}, dtype, Rule::sum);
  const Layout layout = to_layout(layout_word);
  const bool less_precision = allows_less_precision(to_word("precision", precision));
  const int n_threads = to_threads(threads);

  Geometry geometry = to_geometry(stride, padding, dilation, groups, pad_mode);
  geometry.pad_value = to_pad_value(numbers, pad_value);
  const Images images = x.images(layout);
  Conv2d p = make_conv2d(images, weight.shape(), geometry);
  p.channels_last = x.has_channels_last(layout);
  bias.check(p.out_channels);
  const double terms = static_cast<double>(p.taps());
  choose_compute_type(numbers, terms,
                      bound_of(numbers, terms, x, weight, bias.pointer(), p.pad_value));
  Plan plan = plan_for(numbers, p, Operation::forward, to_word("algorithm", algorithm), n_threads,
                       leeway_for(numbers, less_precision));
  if (numbers.is_complex) {
    Result y(result_shape(images, p), layout, numbers, out);
    return y.assign(call_complex(n_threads, "conv2d", x.as_complex(numbers.result, layout),
                                 weight.as_complex(numbers.result), bias_object, stride, padding,
                                 dilation, groups, pad_mode, pad_value, precision, algorithm, numbers.result));
  }

  const Type type = numbers.compute;
  bias.prepare(type);
  const Home home = home_for(plan);
  const Prepared xs = prepared_images(x, p, plan, type, layout, home);
  const Prepared ws = weight.prepared(type);
  Result y(result_shape(images, p), order_of(plan, layout), numbers, out,
           {&xs.array(), &ws.array(), &bias.array}, home);
  const auto by_fft = [&] { return conv2d_by_fft(p, plan, numbers, xs, ws, bias.array, y.array()); };
  if (transformed(plan, numbers, p, Operation::forward, n_threads, by_fft)) return y.finish(n_threads);
  if (prepared) prepared->use(p, type, ws, plan);
  run(work_of(p), type, [&](auto zero) {
    using T = decltype(zero);
    conv2d_forward(p, plan, view<T>(xs), data<T>(ws), bias.values<T>(), y.data<T>());
  });
  return y.finish(n_threads);
}

py::object conv2d_transpose(Object x_object, Object weight_object, Object bias_object,
                            Object stride, Object padding, Object output_padding, Object groups,
                            Object dilation, Object layout_word, Object dtype, Object precision,
                            Object algorithm, Object threads, Object out) {
  const Operand x("x", x_object), weight("weight", weight_object);
  Bias bias(bias_object);
  Numbers numbers = numbers_for({&x, &weight, bias.pointer()}, dtype, Rule::sum);
  const Layout layout = to_layout(layout_word);
  const bool less_precision = allows_less_precision(to_word("precision", precision));
  const int n_threads = to_threads(threads);

  const Images images = x.images(layout);
  const Geometry geometry = to_geometry(stride, padding, dilation, groups, py::str("constant"));
  Conv2d p = make_conv2d_transpose(images, weight.shape(), geometry,
                                   to_pair("output_padding", output_padding));
  p.channels_last = x.has_channels_last(layout);
  bias.check(p.in_channels);
  const double terms = static_cast<double>(p.gradient_terms());
  choose_compute_type(numbers, terms, bound_of(numbers, terms, x, weight, bias.pointer()));
  Plan plan = plan_for(numbers, p, Operation::grad_input, to_word("algorithm", algorithm), n_threads,
                       leeway_for(numbers, less_precision));
  const Shape shape = with_channels(images, p.in_channels, p.h.in, p.w.in).shape();
  if (numbers.is_complex) {
    Result y(shape, layout, numbers, out);
    return y.assign(call_complex(n_threads, "conv2d_transpose", x.as_complex(numbers.result, layout),
                                 weight.as_complex(numbers.result), bias_object, stride, padding,
                                 output_padding, groups, dilation, precision, algorithm, numbers.result));
  }

  const Type type = numbers.compute;
  bias.prepare(type);
  const Home home = home_for(plan);
  const Layout order = order_of(plan, layout);
  const Prepared xs = x.prepared(type, order, n_threads, home), ws = weight.prepared(type);
  Result y(shape, order, numbers, out, {&xs.array(), &ws.array(), &bias.array}, home);
  const auto by_fft = [&] {
    return grad_input_by_fft(p, plan, numbers, xs, ws, bias.array, y.array());
  };
  if (transformed(plan, numbers, p, Operation::grad_input, n_threads, by_fft)) {
    return y.finish(n_threads);
  }
  run(work_of(p), type, [&](auto zero) {
    using T = decltype(zero);
    convpool::conv2d_grad_input(p, plan, data<T>(xs), data<T>(ws), bias.values<T>(), y.data<T>());
  });
  return y.finish(n_threads);
}

py::object conv2d_grad_input(Object dy_object, Object weight_object, Object input_shape,
                             Object stride, Object padding, Object dilation, Object groups,
                             Object pad_mode, Object pad_value, Object layout_word, Object dtype,
                             Object precision, Object algorithm, Object threads, Object out) {
  const Operand dy("dy", dy_object), weight("weight", weight_object);
  Numbers numbers = numbers_for({&dy, &weight}, dtype, Rule::sum);
  const Layout layout = to_layout(layout_word);
  const bool less_precision = allows_less_precision(to_word("precision", precision));
  const int n_threads = to_threads(threads);
  to_pad_value(numbers, pad_value);

  const Images images = parse_images("input_shape", to_shape("input_shape", input_shape), layout);
  Conv2d p =
      make_conv2d(images, weight.shape(), to_geometry(stride, padding, dilation, groups, pad_mode));
  p.channels_last = dy.has_channels_last(layout);
  check_shape("dy", dy.shape(), result_shape(images, p));
  // A cell that padding shows again and again may meet every output of its plane with every tap.
  const bool is_shown_once = p.h.pad_mode == PadMode::constant;
  const double taps = static_cast<double>(p.group_out()) * p.window();
  const double terms = is_shown_once ? static_cast<double>(p.gradient_terms()) : taps;
  const double most_terms = is_shown_once ? terms : taps * static_cast<double>(p.pixels());
  choose_compute_type(numbers, terms, bound_of(numbers, most_terms, dy, weight));
  Plan plan = plan_for(numbers, p, Operation::grad_input, to_word("algorithm", algorithm), n_threads,
                       leeway_for(numbers, less_precision));
  if (numbers.is_complex) {
    Result dx(images.shape(), layout, numbers, out);
    return dx.assign(call_complex(n_threads, "conv2d_grad_input",
                                  dy.as_complex(numbers.result, layout),
                                  weight.as_complex(numbers.result),
                                  to_tuple(channels_first(images).shape()), stride, padding, dilation,
                                  groups, pad_mode, precision, algorithm, numbers.result));
  }

  const Type type = numbers.compute;
  const Home home = home_for(plan);
  const Layout order = order_of(plan, layout);
  const Prepared dys = dy.prepared(type, order, n_threads, home), ws = weight.prepared(type);
  Result dx(images.shape(), order, numbers, out, {&dys.array(), &ws.array()}, home);
  const auto by_fft = [&] {
    return grad_input_by_fft(p, plan, numbers, dys, ws, no_array(), dx.array());
  };
  if (transformed(plan, numbers, p, Operation::grad_input, n_threads, by_fft)) {
    return dx.finish(n_threads);
  }
  run(work_of(p), type, [&](auto zero) {
    using T = decltype(zero);
    convpool::conv2d_grad_input<T>(p, plan, data<T>(dys), data<T>(ws), nullptr, dx.data<T>());
  });
  return dx.finish(n_threads);
}

py::object conv2d_grad_weight(Object dy_object, Object x_object, Object kernel_size,
                              Object stride, Object padding, Object dilation, Object groups,
                              Object pad_mode, Object pad_value, Object layout_word, Object dtype,
                              Object precision, Object algorithm, Object threads, Object out) {
  const Operand dy("dy", dy_object), x("x", x_object);
  Numbers numbers = numbers_for({&dy, &x}, dtype, Rule::sum);
  const Layout layout = to_layout(layout_word);
  const bool less_precision = allows_less_precision(to_word("precision", precision));
  const int n_threads = to_threads(threads);

  Geometry geometry = to_geometry(stride, padding, dilation, groups, pad_mode);
  geometry.pad_value = to_pad_value(numbers, pad_value);
  const Images images = x.images(layout), dy_images = dy.images(layout);
  const Pair kernel = to_pair("kernel_size", kernel_size);
  Conv2d p = make_conv2d_for_weight(images, dy_images.channels, kernel, geometry);
  p.channels_last = x.has_channels_last(layout) && dy.has_channels_last(layout);
  check_shape("dy", dy.shape(), result_shape(images, p));
  // Sums over pixels are cut into blocks, and stay in float32 however long they are.
  const double terms = static_cast<double>(p.batch) * p.pixels();
  choose_compute_type(numbers, 0, bound_of(numbers, terms, x, dy, nullptr, p.pad_value));
  Plan plan = plan_for(numbers, p, Operation::grad_weight, to_word("algorithm", algorithm), n_threads,
                       leeway_for(numbers, less_precision));
  const Shape shape{p.out_channels, p.group_in(), p.h.kernel, p.w.kernel};
  if (numbers.is_complex) {
    Result dw(shape, Layout::nchw, numbers, out);
    return dw.assign(call_complex(n_threads, "conv2d_grad_weight",
                                  dy.as_complex(numbers.result, layout),
                                  x.as_complex(numbers.result, layout), kernel_size, stride, padding,
                                  dilation, groups, pad_mode, pad_value, precision, algorithm, numbers.result));
  }

  const Type type = numbers.compute;
  const Home home = home_for(plan);
  const Prepared dys = dy.prepared(type, plan.reads_channels_last ? Layout::nchw : layout, n_threads, home);
  const Prepared xs = prepared_images(x, p, plan, type, layout, home);
  Result dw(shape, Layout::nchw, numbers, out, {&dys.array(), &xs.array()}, home);
  const auto by_fft = [&] { return grad_weight_by_fft(p, plan, numbers, dys, xs, dw.array()); };
  if (transformed(plan, numbers, p, Operation::grad_weight, n_threads, by_fft)) return dw.finish();
  run(work_of(p), type, [&](auto zero) {
    using T = decltype(zero);
    convpool::conv2d_grad_weight(p, plan, data<T>(dys), view<T>(xs), dw.data<T>());
  });
  return dw.finish();
}

py::object conv2d_grad_bias(Object dy_object, Object layout_word, Object dtype, Object threads,
                            Object out) {
  const Operand dy("dy", dy_object);
  const Numbers numbers = numbers_for({&dy}, dtype, Rule::sum);
  const Layout layout = to_layout(layout_word);
  const int n_threads = to_threads(threads);
  const Images images = dy.images(layout);
  if (numbers.is_complex) {
    Result db({images.channels}, Layout::nchw, numbers, out);
    return db.assign(
        call_complex(n_threads, "conv2d_grad_bias", dy.as_complex(numbers.result, layout),
                     numbers.result));
  }

  const Type type = numbers.compute;
  const double cells = static_cast<double>(dy.array().size());
  const Prepared dys = dy.prepared(type, layout, n_threads);
  Result db({images.channels}, Layout::nchw, numbers, out, {&dys.array()});
  run(cells, type, [&](auto zero) {
    using T = decltype(zero);
    convpool::conv2d_grad_bias(worthwhile_threads(cells, n_threads), images.batch,
                               images.channels, images.height * images.width, data<T>(dys),
                               db.data<T>());
  });
  return db.finish();
}

py::tuple conv2d_output_shape(Object x_shape, Object weight_shape, Object stride, Object padding,
                              Object dilation, Object groups, Object layout_word) {
  const Images images =
      parse_images("x_shape", to_shape("x_shape", x_shape), to_layout(layout_word));
  const Geometry geometry = to_geometry(stride, padding, dilation, groups, py::str("constant"));
  const Conv2d p = make_conv2d(images, to_shape("weight_shape", weight_shape), geometry);
  return to_tuple(result_shape(images, p));
}

py::tuple explain_conv2d(Object x_shape, Object weight_shape, Object stride, Object padding,
                         Object dilation, Object groups, Object layout_word, Object dtype,
                         Object precision, Object algorithm, Object threads) {
  Numbers numbers = numbers_for({}, dtype, Rule::sum);
  const bool less_precision = allows_less_precision(to_word("precision", precision));
  const int n_threads = to_threads(threads);
  const Layout layout = to_layout(layout_word);
  const Images images = parse_images("x_shape", to_shape("x_shape", x_shape), layout);
  const Geometry geometry = to_geometry(stride, padding, dilation, groups, py::str("constant"));
  Conv2d p = make_conv2d(images, to_shape("weight_shape", weight_shape), geometry);
  p.channels_last = layout == Layout::nhwc;
  // Without values, whole numbers are taken to fill their type.
  const double terms = static_cast<double>(p.taps());
  choose_compute_type(numbers, terms,
                      terms * std::ldexp(1, 16 * static_cast<int>(numbers.result.itemsize())));
  const Plan plan = plan_for(numbers, p, Operation::forward, to_word("algorithm", algorithm), n_threads,
                             leeway_for(numbers, less_precision));
  const Index moved_bytes = moved_cells(p, plan) * dtype_of(numbers.compute).itemsize();
  const double flops = 2.0 * static_cast<double>(p.batch) * p.image_multiply_adds();
  return py::make_tuple(plan.name(), plan.instruction_set, py::make_tuple(plan.mr, plan.nr),
                        plan.scratch_bytes + moved_bytes, py::int_(py::float_(flops)),
                        to_tuple(result_shape(images, p)), plan.reason);
}

}  // namespace

void bind_convolutions(py::module_& module) {
  const py::class_<PackedWeight> packed_weight(module, "PackedWeight", py::is_final());
  packed_weight_type = reinterpret_cast<PyTypeObject*>(packed_weight.ptr());
  static PyMethodDef functions[] = {
      by_position<pack_weight>("pack_weight"),
      by_position<conv2d>("conv2d"),
      by_position<conv2d_transpose>("conv2d_transpose"),
      by_position<conv2d_grad_input>("conv2d_grad_input"),
      by_position<conv2d_grad_weight>("conv2d_grad_weight"),
      by_position<conv2d_grad_bias>("conv2d_grad_bias"),
      by_position<conv2d_output_shape>("conv2d_output_shape"),
      by_position<explain_conv2d>("explain_conv2d"),
      {},
  };
  add_functions(module, functions);
}

}  // namespace convpool::bindings
