// Pools: five steps a function, as in bindings_conv.cpp. Arguments come by position from pool.py.

#include "bindings.hpp"
#include "pool2d.hpp"
#include "windows.hpp"

namespace convpool::bindings {
namespace {

struct PoolArguments {
  PoolArguments(Object kernel_size, Object stride, Object padding, Object dilation,
                Object ceil_mode)
      : kernel(to_pair("kernel_size", kernel_size)) {
    options.stride = stride.is_none() ? kernel : to_pair("stride", stride);
    options.padding = to_padding(padding);
    options.dilation = to_pair("dilation", dilation);
    options.ceil_mode = to_bool("ceil_mode", ceil_mode);
  }
  void set_count(Object count_include_pad, Object divisor_override) {
    options.count_include_pad = to_bool("count_include_pad", count_include_pad);
    if (!divisor_override.is_none()) {
      options.divisor = to_index("divisor_override", divisor_override);
    }
  }
  void set_padding(Object pad_mode, double pad_value) {
    options.pad_mode = parse_pad_mode(to_word("pad_mode", pad_mode));
    options.pad_value = pad_value;
  }
  Pool2d problem(const Images& images) const { return make_pool2d(images, kernel, options); }

  Pair kernel;
  PoolOptions options;
};

Shape result_shape(const Images& images, const Pool2d& p) {
  return with_channels(images, images.channels, p.h.out, p.w.out).shape();
}

// A pool's input, and the result: where the user has them, or copies with channels before rows.
class PoolArrays {
 public:
  PoolArrays(const Operand& x, const Images& images, const Pool2d& p, const Numbers& numbers,
             Layout layout, int threads, Object out)
      : p_(p), stays_last_(x.has_channels_last(layout) && reads_channels_last(p, numbers.compute)),
        layout_(stays_last_ ? Layout::nchw : layout),
        x_(stays_last_ ? x.prepared(numbers.compute) : x.strided(numbers.compute, layout, threads)),
        y_(result_shape(images, p), layout_, numbers, out, {&x_.array()}) {
    if (!stays_last_) return;
    p_ = in_depth(p);
    if (fills_vectors(p, numbers.compute) && sees_all(p, p.h) && sees_all(p, p.w)) join_axes();
  }

  const Pool2d& problem() const { return p_; }
  // How arrays are asked for that the core writes in the same order.
  Layout layout() const { return layout_; }
  template <class T>
  View<T> x() const {
    if (!stays_last_) return view<T>(x_);
    return {data<T>(x_), p_.h.in * p_.in_row(), 1, p_.in_row(), p_.depth};
  }
  Result& y() { return y_; }

 private:
  // All cells are one column, which one window sees: half the time of a mean of 1000 channels of 13x13.
  void join_axes() {
    const Index cells = p_.h.in * p_.w.in;
    p_.h = Axis{cells, cells, cells};
    p_.w = Axis{1};
    p_.h.out = p_.w.out = 1;
    p_.adaptive = false;
  }

  static bool fills_vectors(const Pool2d& p, Type type) {
    return p.channels * dtype_of(type).itemsize() >= 32;
  }

  // Strides take a call of a kernel for the numbers of each cell, which few would not pay for.
  static bool reads_channels_last(const Pool2d& p, Type type) {
    return p.channels > 1 && ((!p.adaptive && p.w.stride == 1) || fills_vectors(p, type));
  }

  Pool2d p_;
  bool stays_last_;
  Layout layout_;
  Prepared x_;
  Result y_;
};

// Cells that windows join, or cells of the images where these are more.
double work_of(const Pool2d& p) {
  const double windows = static_cast<double>(p.h.out) * p.w.out * p.h.kernel * p.w.kernel;
  return static_cast<double>(p.planes()) * std::max(windows, static_cast<double>(p.h.in) * p.w.in);
}

int pool_threads(const Pool2d& p, int threads) {
  const double cells = std::max(static_cast<double>(p.h.in) * p.w.in,
                                static_cast<double>(p.h.out) * p.w.out);
  return worthwhile_threads(static_cast<double>(p.planes()) * cells * joins_of_cell(p), threads);
}

// Maximum and minimum, of sliding and of adaptive windows.
py::object pool_extremum(Extremum extremum, const Operand& x, const Images& images,
                         const Pool2d& p, const Numbers& numbers, bool with_indices,
                         Layout layout, int threads, Object out) {
  PoolArrays arrays(x, images, p, numbers, layout, threads, out);
  const Numbers index_numbers{dtype_of(Type::int64), Type::int64};
  std::optional<Result> indices;
  if (with_indices) {
    indices.emplace(result_shape(images, p), arrays.layout(), index_numbers, py::none());
  }
  run_any(work_of(p), numbers.compute, [&](auto zero) {
    using T = decltype(zero);
    extremum_pool2d(arrays.problem(), pool_threads(p, threads), extremum, arrays.x<T>(),
                    arrays.y().data<T>(), indices ? indices->data<Index>() : nullptr);
  });
  if (!indices) return arrays.y().finish(threads);
  return py::make_tuple(arrays.y().finish(threads), indices->finish(threads));
}

template <Extremum extremum>
py::object sliding_extremum(Object x_object, Object kernel_size, Object stride, Object padding,
                            Object dilation, Object ceil_mode, Object return_indices,
                            Object layout_word, Object threads, Object out) {
  const Operand x("x", x_object);
  const Numbers numbers = numbers_for({&x}, py::none(), Rule::order);
  const Layout layout = to_layout(layout_word);
  const int n_threads = to_threads(threads);
  const PoolArguments arguments(kernel_size, stride, padding, dilation, ceil_mode);
  const Images images = x.images(layout);
  return pool_extremum(extremum, x, images, arguments.problem(images), numbers,
                       to_bool("return_indices", return_indices), layout, n_threads, out);
}

py::object adaptive_max_pool2d(Object x_object, Object output_size, Object return_indices,
                               Object layout_word, Object threads, Object out) {
  const Operand x("x", x_object);
  const Numbers numbers = numbers_for({&x}, py::none(), Rule::order);
  const Layout layout = to_layout(layout_word);
  const int n_threads = to_threads(threads);
  const Images images = x.images(layout);
  const Pool2d p = make_adaptive_pool2d(images, to_pair("output_size", output_size));
  return pool_extremum(Extremum::maximum, x, images, p, numbers,
                       to_bool("return_indices", return_indices), layout, n_threads, out);
}

// max_pool2d_grad and max_unpool2d: values to the places that their indices name.
template <class Core>
py::object scatter(const char* name, const char* function, Rule rule, Object values_object,
                   Object indices_object, const char* shape_name, Object shape, Object layout_word,
                   Object threads, Object out, Core core) {
  const Operand values(name, values_object), indices("indices", indices_object);
  const Numbers numbers = numbers_for({&values}, py::none(), rule);
  const Layout layout = to_layout(layout_word);
  const int n_threads = to_threads(threads);
  const Images images = parse_images(shape_name, to_shape(shape_name, shape), layout);
  const Images windows = values.images(layout);
  check_shape(name, values.shape(),
              with_channels(images, images.channels, windows.height, windows.width).shape());
  check_shape("indices", indices.shape(), values.shape());
  if (numbers.is_complex) {
    Result x(images.shape(), layout, numbers, out);
    return x.assign(call_complex(n_threads, function, values.as_complex(numbers.result, layout),
                                 indices.channels_first(layout), to_tuple(channels_first(images).shape())));
  }

  // Where the user has them, whether channels are last or not.
  const Prepared vs = values.prepared(numbers.compute);
  const py::array is = indices.prepared_indices(Layout::nchw);
  Result x(images.shape(), Layout::nchw, numbers, out, {&vs.array(), &is});
  const bool last = layout == Layout::nhwc;
  const Places places{images.batch * (last ? 1 : images.channels), windows.height * windows.width,
                      images.height * images.width, last ? images.channels : 1};
  const double cells = static_cast<double>(images.batch) * images.channels *
                       std::max(places.plane_size, places.windows);
  run_any(cells, numbers.compute, [&](auto zero) {
    using T = decltype(zero);
    core(places, worthwhile_threads(cells, n_threads), data<T>(vs), data<Index>(is), x.data<T>(),
         !out.is_none());
  });
  return x.finish();
}

py::object max_pool2d_grad(Object dy, Object indices, Object input_shape, Object layout,
                           Object threads, Object out) {
  return scatter("dy", "max_pool2d_grad", Rule::keep, dy, indices, "input_shape", input_shape,
                 layout, threads, out,
                 [](auto... arguments) { convpool::max_pool2d_grad(arguments...); });
}

py::object max_unpool2d(Object y, Object indices, Object output_shape, Object layout,
                        Object threads, Object out) {
  return scatter("y", "max_unpool2d", Rule::order, y, indices, "output_shape", output_shape,
                 layout, threads, out,
                 [](auto... arguments) { convpool::max_unpool2d(arguments...); });
}

// Averages, sums and power means, of a problem that is made already. Complex ones are linear, and
// those of their parts: _complex.py calls again with the real and the imaginary numbers.
template <class Core>
py::object pool_numbers(const Operand& x, const Images& images, const Pool2d& p,
                        const Numbers& numbers, Layout layout, int threads, Object out,
                        Core core) {
  PoolArrays arrays(x, images, p, numbers, layout, threads, out);
  run(work_of(p), numbers.compute, [&](auto zero) {
    using T = decltype(zero);
    core(arrays.problem(), pool_threads(p, threads), arrays.x<T>(), arrays.y().data<T>());
  });
  return arrays.y().finish(threads);
}

// Averages have no whole numbers.
const auto average = [](const Pool2d& p, int threads, auto x, auto* y) {
  if constexpr (std::is_floating_point_v<std::remove_pointer_t<decltype(y)>>) {
    convpool::avg_pool2d(p, threads, x, y);
  }
};

py::object avg_pool2d(Object x_object, Object kernel_size, Object stride, Object padding,
                      Object ceil_mode, Object count_include_pad, Object divisor_override,
                      Object dilation, Object pad_mode, Object pad_value, Object layout_word,
                      Object dtype, Object threads, Object out) {
  const Operand x("x", x_object);
  const Numbers numbers = numbers_for({&x}, dtype, Rule::mean);
  const Layout layout = to_layout(layout_word);
  const int n_threads = to_threads(threads);
  PoolArguments arguments(kernel_size, stride, padding, dilation, ceil_mode);
  arguments.set_count(count_include_pad, divisor_override);
  arguments.set_padding(pad_mode, to_pad_value(numbers, pad_value));
  const Images images = x.images(layout);
  const Pool2d p = arguments.problem(images);
  if (numbers.is_complex) {
    Result y(result_shape(images, p), layout, numbers, out);
    return y.assign(call_complex(n_threads, "avg_pool2d", x.as_complex(numbers.result, layout), kernel_size, stride,
                                 padding, ceil_mode, count_include_pad, divisor_override, dilation,
                                 pad_mode, pad_value, numbers.result));
  }
  return pool_numbers(x, images, p, numbers, layout, n_threads, out, average);
}

py::object sum_pool2d(Object x_object, Object kernel_size, Object stride, Object padding,
                      Object ceil_mode, Object dilation, Object pad_mode, Object pad_value,
                      Object layout_word, Object dtype, Object threads, Object out) {
  const Operand x("x", x_object);
  const Numbers numbers = numbers_for({&x}, dtype, Rule::sum);
  const Layout layout = to_layout(layout_word);
  const int n_threads = to_threads(threads);
  PoolArguments arguments(kernel_size, stride, padding, dilation, ceil_mode);
  arguments.set_padding(pad_mode, to_pad_value(numbers, pad_value));
  const Images images = x.images(layout);
  const Pool2d p = arguments.problem(images);
  if (numbers.is_complex) {
    Result y(result_shape(images, p), layout, numbers, out);
    return y.assign(call_complex(n_threads, "sum_pool2d", x.as_complex(numbers.result, layout), kernel_size, stride,
                                 padding, ceil_mode, dilation, pad_mode, pad_value,
                                 numbers.result));
  }
  return pool_numbers(x, images, p, numbers, layout, n_threads, out,
                      [](const Pool2d& p, int threads, auto x, auto* y) {
                        convpool::sum_pool2d(p, threads, x, y);
                      });
}

py::object adaptive_avg_pool2d(Object x_object, Object output_size, Object layout_word,
                               Object dtype, Object threads, Object out) {
  const Operand x("x", x_object);
  const Numbers numbers = numbers_for({&x}, dtype, Rule::mean);
  const Layout layout = to_layout(layout_word);
  const int n_threads = to_threads(threads);
  const Images images = x.images(layout);
  const Pool2d p = make_adaptive_pool2d(images, to_pair("output_size", output_size));
  if (numbers.is_complex) {
    Result y(result_shape(images, p), layout, numbers, out);
    return y.assign(call_complex(n_threads, "adaptive_avg_pool2d", x.as_complex(numbers.result, layout), output_size,
                                 numbers.result));
  }
  return pool_numbers(x, images, p, numbers, layout, n_threads, out, average);
}

py::object lp_pool2d(Object x_object, Object norm_type, Object kernel_size, Object stride,
                     Object ceil_mode, Object padding, Object dilation, Object layout_word,
                     Object dtype, Object threads, Object out) {
  const Operand x("x", x_object);
  const Numbers numbers = numbers_for({&x}, dtype, Rule::mean);
  if (numbers.is_complex) throw py::type_error("x of lp_pool2d must be real, and so must dtype");
  const Layout layout = to_layout(layout_word);
  const int n_threads = to_threads(threads);
  const double power = to_number("norm_type", norm_type);
  if (!(power > 0)) throw py::value_error("norm_type must be positive, got " + shown(norm_type));
  const PoolArguments arguments(kernel_size, stride, padding, dilation, ceil_mode);
  const Images images = x.images(layout);
  return pool_numbers(x, images, arguments.problem(images), numbers, layout, n_threads,
                      out, [power](const Pool2d& p, int threads, auto x, auto* y) {
                        using T = std::remove_pointer_t<decltype(y)>;
                        if constexpr (std::is_floating_point_v<T>) {
                          convpool::lp_pool2d(p, threads, power, x, y);
                        }
                      });
}

// Gradients of averages; `dy` must have the shape of their result.
py::object average_grad(const Operand& dy, const Images& images, const Pool2d& p,
                        const Numbers& numbers, Layout layout, int threads, Object out) {
  // Channels stay last where the shares of an image are not too many for scratch memory.
  constexpr double most_shares = 1 << 20;
  const double shares = static_cast<double>(p.h.out) * p.w.in * p.channels;
  const bool stays_last = dy.has_channels_last(layout) && shares <= most_shares;
  const Layout order = stays_last ? Layout::nchw : layout;
  const Prepared dys = dy.prepared(numbers.compute, order, threads);
  Result dx(images.shape(), order, numbers, out, {&dys.array()});
  const Pool2d problem = stays_last ? in_depth(p) : p;
  run(work_of(p), numbers.compute, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_floating_point_v<T>) {
      convpool::avg_pool2d_grad(problem, pool_threads(p, threads), data<T>(dys), dx.data<T>());
    }
  });
  return dx.finish(threads);
}

py::object avg_pool2d_grad(Object dy_object, Object input_shape, Object kernel_size, Object stride,
                           Object padding, Object ceil_mode, Object count_include_pad,
                           Object divisor_override, Object dilation, Object pad_mode,
                           Object layout_word, Object dtype, Object threads, Object out) {
  const Operand dy("dy", dy_object);
  const Numbers numbers = numbers_for({&dy}, dtype, Rule::mean);
  const Layout layout = to_layout(layout_word);
  const int n_threads = to_threads(threads);
  PoolArguments arguments(kernel_size, stride, padding, dilation, ceil_mode);
  arguments.set_count(count_include_pad, divisor_override);
  arguments.set_padding(pad_mode, 0);
  const Images images = parse_images("input_shape", to_shape("input_shape", input_shape), layout);
  const Pool2d p = arguments.problem(images);
  check_shape("dy", dy.shape(), result_shape(images, p));
  if (numbers.is_complex) {
    Result dx(images.shape(), layout, numbers, out);
    return dx.assign(call_complex(n_threads, "avg_pool2d_grad", dy.as_complex(numbers.result, layout),
                                  to_tuple(channels_first(images).shape()), kernel_size, stride, padding,
                                  ceil_mode, count_include_pad, divisor_override, dilation,
                                  pad_mode, numbers.result));
  }
  return average_grad(dy, images, p, numbers, layout, n_threads, out);
}

py::object adaptive_avg_pool2d_grad(Object dy_object, Object input_shape, Object layout_word,
                                    Object dtype, Object threads, Object out) {
  const Operand dy("dy", dy_object);
  const Numbers numbers = numbers_for({&dy}, dtype, Rule::mean);
  const Layout layout = to_layout(layout_word);
  const int n_threads = to_threads(threads);
  const Images images = parse_images("input_shape", to_shape("input_shape", input_shape), layout);
  const Images windows = dy.images(layout);
  const Pool2d p = make_adaptive_pool2d(images, {windows.height, windows.width});
  check_shape("dy", dy.shape(), result_shape(images, p));
  if (numbers.is_complex) {
    Result dx(images.shape(), layout, numbers, out);
    return dx.assign(call_complex(n_threads, "adaptive_avg_pool2d_grad", dy.as_complex(numbers.result, layout),
                                  to_tuple(channels_first(images).shape()), numbers.result));
  }
  return average_grad(dy, images, p, numbers, layout, n_threads, out);
}

py::tuple pool2d_output_shape(Object x_shape, Object kernel_size, Object stride, Object padding,
                              Object dilation, Object ceil_mode, Object layout_word) {
  const Images images =
      parse_images("x_shape", to_shape("x_shape", x_shape), to_layout(layout_word));
  const PoolArguments arguments(kernel_size, stride, padding, dilation, ceil_mode);
  return to_tuple(result_shape(images, arguments.problem(images)));
}

}  // namespace

void bind_pools(py::module_& module) {
  static PyMethodDef functions[] = {
      by_position<sliding_extremum<Extremum::maximum>>("max_pool2d"),
      by_position<sliding_extremum<Extremum::minimum>>("min_pool2d"),
      by_position<adaptive_max_pool2d>("adaptive_max_pool2d"),
      by_position<max_pool2d_grad>("max_pool2d_grad"),
      by_position<max_unpool2d>("max_unpool2d"),
      by_position<avg_pool2d>("avg_pool2d"),
      by_position<avg_pool2d_grad>("avg_pool2d_grad"),
      by_position<adaptive_avg_pool2d>("adaptive_avg_pool2d"),
      by_position<adaptive_avg_pool2d_grad>("adaptive_avg_pool2d_grad"),
      by_position<sum_pool2d>("sum_pool2d"),
      by_position<lp_pool2d>("lp_pool2d"),
      by_position<pool2d_output_shape>("pool2d_output_shape"),
      {},
  };
  add_functions(module, functions);
}

}  // namespace convpool::bindings
