// Windows as columns, and back: five steps a function, as in bindings_conv.cpp. Arguments come by
// position from columns.py.

#include "bindings.hpp"
#include "conv2d.hpp"

namespace convpool::bindings {
namespace {

double cells_of(const Conv2d& p) {
  return static_cast<double>(p.batch) * p.taps() * p.pixels();
}

Shape columns_shape(const Images& images, const Conv2d& p) {
  const Shape shape{images.batch, p.taps(), p.pixels()};
  return {shape.begin() + (images.batched ? 0 : 1), shape.end()};
}

py::object im2col(Object x_object, Object kernel_size, Object stride, Object padding,
                  Object dilation, Object pad_mode, Object pad_value, Object layout_word,
                  Object dtype, Object threads, Object out) {
  const Operand x("x", x_object);
  const Numbers numbers = numbers_for({&x}, dtype, Rule::keep);
  const Layout layout = to_layout(layout_word);
  const int n_threads = to_threads(threads);

  Geometry geometry = to_geometry(stride, padding, dilation, py::int_(1), pad_mode);
  geometry.pad_value = to_pad_value(numbers, pad_value);
  const Images images = x.images(layout);
  const Conv2d p = make_windows(images, to_pair("kernel_size", kernel_size), geometry);
  if (numbers.is_complex) {
    Result cols(columns_shape(images, p), Layout::nchw, numbers, out);
    return cols.assign(call_complex(n_threads, "im2col", x.as_complex(numbers.result, layout),
                                    kernel_size, stride, padding, dilation, pad_mode, pad_value,
                                    numbers.result));
  }

  const Type type = numbers.compute;
  const Prepared xs = x.strided(type, layout, n_threads);
  Result cols(columns_shape(images, p), Layout::nchw, numbers, out, {&xs.array()});
  run_any(cells_of(p), type, [&](auto zero) {
    using T = decltype(zero);
    convpool::im2col(p, worthwhile_threads(cells_of(p), n_threads), view<T>(xs), cols.data<T>());
  });
  return cols.finish(n_threads);
}

py::object col2im(Object cols_object, Object input_shape, Object kernel_size, Object stride,
                  Object padding, Object dilation, Object pad_mode, Object layout_word,
                  Object dtype, Object threads, Object out) {
  const Operand cols("cols", cols_object);
  const Numbers numbers = numbers_for({&cols}, dtype, Rule::sum);
  const Layout layout = to_layout(layout_word);
  const int n_threads = to_threads(threads);

  const Images images = parse_images("input_shape", to_shape("input_shape", input_shape), layout);
  const Conv2d p = make_windows(images, to_pair("kernel_size", kernel_size),
                                to_geometry(stride, padding, dilation, py::int_(1), pad_mode));
  check_shape("cols", cols.shape(), columns_shape(images, p));
  if (numbers.is_complex) {
    Result x(images.shape(), layout, numbers, out);
    return x.assign(call_complex(n_threads, "col2im", cols.as_complex(numbers.result),
                                 to_tuple(channels_first(images).shape()), kernel_size, stride, padding,
                                 dilation, pad_mode, numbers.result));
  }

  const Type type = numbers.compute;
  const Prepared prepared = cols.prepared(type);
  Result x(images.shape(), layout, numbers, out, {&prepared.array()});
  run(cells_of(p), type, [&](auto zero) {
    using T = decltype(zero);
    convpool::col2im(p, worthwhile_threads(cells_of(p), n_threads), data<T>(prepared), x.data<T>());
  });
  return x.finish(n_threads);
}

}  // namespace

void bind_columns(py::module_& module) {
  static PyMethodDef functions[] = {by_position<im2col>("im2col"), by_position<col2im>("col2im"), {}};
  add_functions(module, functions);
}

}  // namespace convpool::bindings
