// The compiled module: five steps a function. Take the arrays, make the problem, get the result's
// memory, release the GIL and compute, return. Arguments come by position from conv.py and pool.py.

#include "arguments.hpp"
#include "conv2d.hpp"
#include "dispatch.hpp"
#include "pool2d.hpp"

#if defined(__clang__)
#define CONVPOOL_COMPILER "Clang " __clang_version__
#else
#define CONVPOOL_COMPILER "GCC " __VERSION__
#endif

namespace convpool::bindings {
namespace {

using Object = const py::object&;

Geometry to_geometry(Object stride, Object padding, Object dilation, Object groups) {
  Geometry geometry;
  geometry.stride = to_pair("stride", stride);
  geometry.padding = to_padding(padding);
  geometry.dilation = to_pair("dilation", dilation);
  geometry.groups = to_index("groups", groups);
  return geometry;
}

void check_threads(Object threads) {
  if (!threads.is_none()) convpool::check_threads(to_index("threads", threads));
}

void check_pad_mode(Object pad_mode) {
  convpool::check_pad_mode(to_word("pad_mode", pad_mode));
}

void check_precision(Object precision) {
  convpool::check_precision(to_word("precision", precision));
}

// Rounded as numpy.pad would, which fills an array of the type.
double to_pad_value(Type type, Object object) {
  const double value = to_number("pad_value", object);
  return type == Type::float32 ? static_cast<float>(value) : value;
}

// Calls compute(T()) without the GIL, T being float or double.
template <class Compute>
void run(Type type, Compute compute) {
  py::gil_scoped_release without_gil;
  type == Type::float32 ? compute(float()) : compute(double());
}

Plan plan_for(Type type, const Conv2d& p, Operation operation, Object algorithm) {
  const std::string word = to_word("algorithm", algorithm);
  return type == Type::float32 ? plan_conv2d<float>(p, operation, word)
                               : plan_conv2d<double>(p, operation, word);
}

template <class T>
const T* data(const py::array& array) {
  return static_cast<const T*>(array.data());
}

Shape result_shape(const Images& images, const Conv2d& p) {
  return with_channels(images, p.out_channels, p.h.out, p.w.out).shape();
}

Shape result_shape(const Images& images, const Pool2d& p) {
  return with_channels(images, images.channels, p.h.out, p.w.out).shape();
}

// An optional vector of one number a channel; an empty array stands for none.
struct Bias {
  explicit Bias(Object object) {
    if (!object.is_none()) operand.emplace("bias", object);
  }
  const Operand* pointer() const { return operand ? &*operand : nullptr; }
  void prepare(Type type, Index channels) {
    if (!operand) return;
    check_shape("bias", operand->shape(), {channels});
    array = operand->prepared(type);
  }
  template <class T>
  const T* values() const {
    return operand ? data<T>(array) : nullptr;
  }

  std::optional<Operand> operand;
  py::array array;
};

py::object conv2d(Object x_object, Object weight_object, Object bias_object, Object stride,
                  Object padding, Object dilation, Object groups, Object pad_mode,
                  Object pad_value, Object layout_word, Object dtype, Object precision,
                  Object algorithm, Object threads, Object out) {
  const Operand x("x", x_object), weight("weight", weight_object);
  Bias bias(bias_object);
  const Type type = common_type({&x, &weight, bias.pointer()}, dtype);
  const Layout layout = to_layout(layout_word);
  check_pad_mode(pad_mode);
  check_precision(precision);
  check_threads(threads);

  Geometry geometry = to_geometry(stride, padding, dilation, groups);
  geometry.pad_value = to_pad_value(type, pad_value);
  const Images images = x.images(layout);
  const Conv2d p = make_conv2d(images, weight.shape(), geometry);
  const Plan plan = plan_for(type, p, Operation::forward, algorithm);
  bias.prepare(type, p.out_channels);

  const py::array xs = x.prepared(type, layout), ws = weight.prepared(type);
  Result y(result_shape(images, p), layout, type, out, {&xs, &ws, &bias.array});
  run(type, [&](auto zero) {
    using T = decltype(zero);
    conv2d_forward(p, plan, data<T>(xs), data<T>(ws), bias.values<T>(), y.data<T>());
  });
  return y.finish();
}

py::object conv2d_transpose(Object x_object, Object weight_object, Object bias_object,
                            Object stride, Object padding, Object output_padding, Object groups,
                            Object dilation, Object layout_word, Object dtype, Object precision,
                            Object algorithm, Object threads, Object out) {
  const Operand x("x", x_object), weight("weight", weight_object);
  Bias bias(bias_object);
  const Type type = common_type({&x, &weight, bias.pointer()}, dtype);
  const Layout layout = to_layout(layout_word);
  check_precision(precision);
  check_threads(threads);

  const Images images = x.images(layout);
  const Conv2d p =
      make_conv2d_transpose(images, weight.shape(), to_geometry(stride, padding, dilation, groups),
                            to_pair("output_padding", output_padding));
  const Plan plan = plan_for(type, p, Operation::grad_input, algorithm);
  bias.prepare(type, p.in_channels);

  const py::array xs = x.prepared(type, layout), ws = weight.prepared(type);
  Result y(with_channels(images, p.in_channels, p.h.in, p.w.in).shape(), layout, type, out,
           {&xs, &ws, &bias.array});
  run(type, [&](auto zero) {
    using T = decltype(zero);
    convpool::conv2d_grad_input(p, plan, data<T>(xs), data<T>(ws), bias.values<T>(), y.data<T>());
  });
  return y.finish();
}

py::object conv2d_grad_input(Object dy_object, Object weight_object, Object input_shape,
                              Object stride, Object padding, Object dilation, Object groups,
                              Object pad_mode, Object pad_value, Object layout_word, Object dtype,
                              Object precision, Object algorithm, Object threads, Object out) {
  const Operand dy("dy", dy_object), weight("weight", weight_object);
  const Type type = common_type({&dy, &weight}, dtype);
  const Layout layout = to_layout(layout_word);
  check_pad_mode(pad_mode);
  check_precision(precision);
  check_threads(threads);
  to_number("pad_value", pad_value);

  const Images images =
      parse_images("input_shape", to_shape("input_shape", input_shape), layout);
  const Conv2d p =
      make_conv2d(images, weight.shape(), to_geometry(stride, padding, dilation, groups));
  check_shape("dy", dy.shape(), result_shape(images, p));
  const Plan plan = plan_for(type, p, Operation::grad_input, algorithm);

  const py::array dys = dy.prepared(type, layout), ws = weight.prepared(type);
  Result dx(images.shape(), layout, type, out, {&dys, &ws});
  run(type, [&](auto zero) {
    using T = decltype(zero);
    convpool::conv2d_grad_input<T>(p, plan, data<T>(dys), data<T>(ws), nullptr, dx.data<T>());
  });
  return dx.finish();
}

py::object conv2d_grad_weight(Object dy_object, Object x_object, Object kernel_size,
                               Object stride, Object padding, Object dilation, Object groups,
                               Object pad_mode, Object pad_value, Object layout_word, Object dtype,
                               Object precision, Object algorithm, Object threads, Object out) {
  const Operand dy("dy", dy_object), x("x", x_object);
  const Type type = common_type({&dy, &x}, dtype);
  const Layout layout = to_layout(layout_word);
  check_pad_mode(pad_mode);
  check_precision(precision);
  check_threads(threads);

  Geometry geometry = to_geometry(stride, padding, dilation, groups);
  geometry.pad_value = to_pad_value(type, pad_value);
  const Images images = x.images(layout), dy_images = dy.images(layout);
  const Pair kernel = to_pair("kernel_size", kernel_size);
  const Conv2d p = make_conv2d_for_weight(images, dy_images.channels, kernel, geometry);
  check_shape("dy", dy.shape(), result_shape(images, p));
  const Plan plan = plan_for(type, p, Operation::grad_weight, algorithm);

  const py::array dys = dy.prepared(type, layout), xs = x.prepared(type, layout);
  Result dw({p.out_channels, p.group_in(), p.h.kernel, p.w.kernel}, Layout::nchw, type, out,
            {&dys, &xs});
  run(type, [&](auto zero) {
    using T = decltype(zero);
    convpool::conv2d_grad_weight(p, plan, data<T>(dys), data<T>(xs), dw.data<T>());
  });
  return dw.finish();
}

py::object conv2d_grad_bias(Object dy_object, Object layout_word, Object dtype, Object threads,
                             Object out) {
  const Operand dy("dy", dy_object);
  const Type type = common_type({&dy}, dtype);
  const Layout layout = to_layout(layout_word);
  check_threads(threads);
  const Images images = dy.images(layout);

  const py::array dys = dy.prepared(type, layout);
  Result db({images.channels}, Layout::nchw, type, out, {&dys});
  run(type, [&](auto zero) {
    using T = decltype(zero);
    convpool::conv2d_grad_bias(images.batch, images.channels, images.height * images.width, data<T>(dys),
                     db.data<T>());
  });
  return db.finish();
}

Shape columns_shape(const Images& images, const Conv2d& p) {
  Shape shape{images.batch, p.taps(), p.pixels()};
  if (!images.batched) shape.erase(shape.begin());
  return shape;
}

py::object im2col(Object x_object, Object kernel_size, Object stride, Object padding,
                  Object dilation, Object pad_mode, Object pad_value, Object layout_word,
                  Object dtype, Object threads, Object out) {
  const Operand x("x", x_object);
  const Type type = common_type({&x}, dtype);
  const Layout layout = to_layout(layout_word);
  check_pad_mode(pad_mode);
  check_threads(threads);

  Geometry geometry = to_geometry(stride, padding, dilation, py::int_(1));
  geometry.pad_value = to_pad_value(type, pad_value);
  const Images images = x.images(layout);
  const Conv2d p = make_windows(images, to_pair("kernel_size", kernel_size), geometry);

  const py::array xs = x.prepared(type, layout);
  Result cols(columns_shape(images, p), Layout::nchw, type, out, {&xs});
  run(type, [&](auto zero) {
    using T = decltype(zero);
    convpool::im2col(p, data<T>(xs), cols.data<T>());
  });
  return cols.finish();
}

py::object col2im(Object cols_object, Object input_shape, Object kernel_size, Object stride,
                  Object padding, Object dilation, Object pad_mode, Object layout_word,
                  Object dtype, Object threads, Object out) {
  const Operand cols("cols", cols_object);
  const Type type = common_type({&cols}, dtype);
  const Layout layout = to_layout(layout_word);
  check_pad_mode(pad_mode);
  check_threads(threads);

  const Images images =
      parse_images("input_shape", to_shape("input_shape", input_shape), layout);
  const Conv2d p = make_windows(images, to_pair("kernel_size", kernel_size),
                                to_geometry(stride, padding, dilation, py::int_(1)));
  check_shape("cols", cols.shape(), columns_shape(images, p));

  const py::array prepared = cols.prepared(type);
  Result x(images.shape(), layout, type, out, {&prepared});
  run(type, [&](auto zero) {
    using T = decltype(zero);
    convpool::col2im(p, data<T>(prepared), x.data<T>());
  });
  return x.finish();
}

py::tuple conv2d_output_shape(Object x_shape, Object weight_shape, Object stride, Object padding,
                              Object dilation, Object groups, Object layout_word) {
  const Images images =
      parse_images("x_shape", to_shape("x_shape", x_shape), to_layout(layout_word));
  const Conv2d p = make_conv2d(images, to_shape("weight_shape", weight_shape),
                               to_geometry(stride, padding, dilation, groups));
  return py::tuple(py::cast(result_shape(images, p)));
}

py::tuple explain_conv2d(Object x_shape, Object weight_shape, Object stride, Object padding,
                         Object dilation, Object groups, Object layout_word, Object dtype,
                         Object precision, Object algorithm, Object threads) {
  const Type type = parse_type(dtype);
  check_precision(precision);
  check_threads(threads);
  const Images images =
      parse_images("x_shape", to_shape("x_shape", x_shape), to_layout(layout_word));
  const Conv2d p = make_conv2d(images, to_shape("weight_shape", weight_shape),
                               to_geometry(stride, padding, dilation, groups));
  const Plan plan = plan_for(type, p, Operation::forward, algorithm);
  return py::make_tuple(plan.name(), plan.instruction_set, py::make_tuple(plan.mr, plan.nr),
                        plan.scratch_bytes, py::int_(py::float_(2.0 * p.batch * p.image_multiply_adds())),
                        py::tuple(py::cast(result_shape(images, p))), plan.reason);
}

struct PoolArguments {
  PoolArguments(Object kernel_size, Object stride, Object padding, Object dilation,
                Object ceil_mode)
      : kernel(to_pair("kernel_size", kernel_size)) {
    options.stride = stride.is_none() ? kernel : to_pair("stride", stride);
    options.padding = to_padding(padding);
    options.dilation = to_pair("dilation", dilation);
    options.ceil_mode = to_bool("ceil_mode", ceil_mode);
  }
  void count(Object count_include_pad, Object divisor_override) {
    options.count_include_pad = to_bool("count_include_pad", count_include_pad);
    if (!divisor_override.is_none()) {
      options.divisor = to_index("divisor_override", divisor_override);
    }
  }

  Pair kernel;
  PoolOptions options;
};

py::object max_pool2d(Object x_object, Object kernel_size, Object stride, Object padding,
                      Object dilation, Object ceil_mode, Object return_indices, Object layout_word,
                      Object threads, Object out) {
  const Operand x("x", x_object);
  const Type type = common_type({&x}, py::none());
  const Layout layout = to_layout(layout_word);
  check_threads(threads);
  const bool with_indices = to_bool("return_indices", return_indices);
  const PoolArguments arguments(kernel_size, stride, padding, dilation, ceil_mode);
  const Images images = x.images(layout);
  const Pool2d p = make_pool2d(images, arguments.kernel, arguments.options);

  const py::array xs = x.prepared(type, layout);
  const Shape shape = result_shape(images, p);
  Result y(shape, layout, type, out, {&xs});
  std::optional<Result> indices;
  if (with_indices) indices.emplace(shape, layout, Type::int64, py::none());
  run(type, [&](auto zero) {
    using T = decltype(zero);
    convpool::max_pool2d(p, data<T>(xs), y.data<T>(), indices ? indices->data<Index>() : nullptr);
  });
  if (!indices) return y.finish();
  return py::make_tuple(y.finish(), indices->finish());
}

// max_pool2d_grad and max_unpool2d: values to the places that their indices name.
template <class Core>
py::object scatter(const char* name, Object values_object, Object indices_object,
                   const char* shape_name, Object shape, Object layout_word, Object threads,
                   Object out, Core core) {
  const Operand values(name, values_object), indices("indices", indices_object);
  const Type type = common_type({&values}, py::none());
  const Layout layout = to_layout(layout_word);
  check_threads(threads);
  const Images images = parse_images(shape_name, to_shape(shape_name, shape), layout);
  const Images windows = values.images(layout);
  check_shape(name, values.shape(),
              with_channels(images, images.channels, windows.height, windows.width).shape());
  check_shape("indices", indices.shape(), values.shape());

  const py::array vs = values.prepared(type, layout), is = indices.prepared_indices(layout);
  Result x(images.shape(), layout, type, out, {&vs, &is});
  run(type, [&](auto zero) {
    using T = decltype(zero);
    core(images.batch * images.channels, windows.height * windows.width,
         images.height * images.width, data<T>(vs), data<Index>(is), x.data<T>());
  });
  return x.finish();
}

py::object max_pool2d_grad(Object dy, Object indices, Object input_shape, Object layout,
                           Object threads, Object out) {
  return scatter("dy", dy, indices, "input_shape", input_shape, layout, threads, out,
                 [](auto... arguments) { convpool::max_pool2d_grad(arguments...); });
}

py::object max_unpool2d(Object y, Object indices, Object output_shape, Object layout,
                        Object threads, Object out) {
  return scatter("y", y, indices, "output_shape", output_shape, layout, threads, out,
                 [](auto... arguments) { convpool::max_unpool2d(arguments...); });
}

py::object avg_pool2d(Object x_object, Object kernel_size, Object stride, Object padding,
                      Object ceil_mode, Object count_include_pad, Object divisor_override,
                      Object dilation, Object pad_mode, Object pad_value, Object layout_word,
                      Object dtype, Object threads, Object out) {
  const Operand x("x", x_object);
  const Type type = common_type({&x}, dtype);
  const Layout layout = to_layout(layout_word);
  check_pad_mode(pad_mode);
  check_threads(threads);
  PoolArguments arguments(kernel_size, stride, padding, dilation, ceil_mode);
  arguments.count(count_include_pad, divisor_override);
  arguments.options.pad_value = to_pad_value(type, pad_value);
  const Images images = x.images(layout);
  const Pool2d p = make_pool2d(images, arguments.kernel, arguments.options);

  const py::array xs = x.prepared(type, layout);
  Result y(result_shape(images, p), layout, type, out, {&xs});
  run(type, [&](auto zero) {
    using T = decltype(zero);
    convpool::avg_pool2d(p, data<T>(xs), y.data<T>());
  });
  return y.finish();
}

py::object avg_pool2d_grad(Object dy_object, Object input_shape, Object kernel_size, Object stride,
                           Object padding, Object ceil_mode, Object count_include_pad,
                           Object divisor_override, Object dilation, Object pad_mode,
                           Object layout_word, Object dtype, Object threads, Object out) {
  const Operand dy("dy", dy_object);
  const Type type = common_type({&dy}, dtype);
  const Layout layout = to_layout(layout_word);
  check_pad_mode(pad_mode);
  check_threads(threads);
  PoolArguments arguments(kernel_size, stride, padding, dilation, ceil_mode);
  arguments.count(count_include_pad, divisor_override);
  const Images images =
      parse_images("input_shape", to_shape("input_shape", input_shape), layout);
  const Pool2d p = make_pool2d(images, arguments.kernel, arguments.options);
  check_shape("dy", dy.shape(), result_shape(images, p));

  const py::array dys = dy.prepared(type, layout);
  Result dx(images.shape(), layout, type, out, {&dys});
  run(type, [&](auto zero) {
    using T = decltype(zero);
    convpool::avg_pool2d_grad(p, data<T>(dys), dx.data<T>());
  });
  return dx.finish();
}

py::tuple pool2d_output_shape(Object x_shape, Object kernel_size, Object stride, Object padding,
                              Object dilation, Object ceil_mode, Object layout_word) {
  const Images images =
      parse_images("x_shape", to_shape("x_shape", x_shape), to_layout(layout_word));
  const PoolArguments arguments(kernel_size, stride, padding, dilation, ceil_mode);
  const Pool2d p = make_pool2d(images, arguments.kernel, arguments.options);
  return py::tuple(py::cast(result_shape(images, p)));
}

py::dict build_config() {
  py::dict config;
  config["version"] = CONVPOOL_VERSION;
  config["compiler"] = CONVPOOL_COMPILER;
  config["instruction_sets_built"] = built_instruction_sets();
  config["instruction_sets_detected"] = detected_instruction_sets();
  config["instruction_set"] = active_kernels().name;
  return config;
}

void set_num_threads(Object n) { convpool::check_threads(to_index("n", n)); }

}  // namespace

PYBIND11_MODULE(_core, module, py::mod_gil_not_used()) {
  try {
    active_kernels();
  } catch (const std::runtime_error& error) {
    throw py::import_error(error.what());
  }
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Unsupported& error) {
      PyErr_SetString(PyExc_NotImplementedError, error.what());
    }
  });
  module.attr("__version__") = CONVPOOL_VERSION;
  module.def("build_config", build_config);
  module.def("get_num_threads", [] { return 1; });
  module.def("set_num_threads", set_num_threads);

  module.def("conv2d", conv2d);
  module.def("conv2d_transpose", conv2d_transpose);
  module.def("conv2d_grad_input", conv2d_grad_input);
  module.def("conv2d_grad_weight", conv2d_grad_weight);
  module.def("conv2d_grad_bias", conv2d_grad_bias);
  module.def("im2col", im2col);
  module.def("col2im", col2im);
  module.def("conv2d_output_shape", conv2d_output_shape);
  module.def("explain_conv2d", explain_conv2d);

  module.def("max_pool2d", max_pool2d);
  module.def("max_pool2d_grad", max_pool2d_grad);
  module.def("max_unpool2d", max_unpool2d);
  module.def("avg_pool2d", avg_pool2d);
  module.def("avg_pool2d_grad", avg_pool2d_grad);
  module.def("pool2d_output_shape", pool2d_output_shape);
}

}  // namespace convpool::bindings
