#include "bindings_fft.hpp"

#include "gradient_phases.hpp"
#include "scratch.hpp"

namespace convpool::bindings {
namespace {

py::tuple axis(const Axis& a, Index tile, Index kernel_part) {
  return py::make_tuple(a.in, a.out, a.stride, a.dilation, a.pad_before, a.pad_after, a.kernel, tile,
                        kernel_part);
}

// Calls a function of _fft.py with these arguments, the geometry, and memory for the spectra.
template <class... Arguments>
bool transform(const char* function, const Conv2d& conv, const FftTiles& tiles,
               const Numbers& numbers, const Arguments&... arguments) {
  const char* const modes[] = {"constant", "reflect", "symmetric", "edge", "wrap"};
  const char* const rounding = numbers.is_integer       ? "whole"
                               : may_transform(numbers) ? "narrow"
                                                        : "none";
  const py::tuple geometry = py::make_tuple(
      conv.groups, axis(conv.h, tiles.height, tiles.kernel_height),
      axis(conv.w, tiles.width, tiles.kernel_width), modes[static_cast<int>(conv.h.pad_mode)],
      conv.pad_value, rounding, tiles.groups_at_once, tiles.channels_at_once, tiles.threads);
  Scratch scratch(Scratch::bytes<char>(tiles.working_bytes));
  const auto memory = py::memoryview::from_memory(scratch.take<char>(tiles.working_bytes),
                                                  tiles.working_bytes);
  const py::object module = py::module_::import("convpool._fft");
  return py::cast<bool>(module.attr(function)(arguments..., geometry, memory));
}

py::object or_none(const py::array& array) { return array ? py::object(array) : py::none(); }

}  // namespace

bool conv2d_by_fft(const Conv2d& p, const Plan& plan, const Numbers& numbers, const py::array& x,
                   const py::array& weight, const py::array& bias, const py::array& y) {
  return transform("conv2d", p, plan.transforms.front(), numbers, x, weight, or_none(bias), y);
}

bool grad_input_by_fft(const Conv2d& p, const Plan& plan, const Numbers& numbers,
                       const py::array& dy, const py::array& weight, const py::array& bias,
                       const py::array& dx) {
  auto tiles = plan.transforms.begin();
  const auto cells_and_taps = [](const PhaseAxis& a) {
    return py::make_tuple(a.first, a.step, a.first_tap, a.tap_step);
  };
  for (const GradientPhase& phase : gradient_phases(p)) {
    const py::tuple rows = cells_and_taps(phase.h), columns = cells_and_taps(phase.w);
    if (phase.is_empty()) {
      py::module_::import("convpool._fft").attr("fill_cells")(dx, or_none(bias), rows, columns);
    } else if (!transform("conv2d_grad_input", phase.conv, *tiles++, numbers, dy, weight,
                          or_none(bias), dx, rows, columns)) {
      return false;
    }
  }
  return true;
}

bool grad_weight_by_fft(const Conv2d& p, const Plan& plan, const Numbers& numbers,
                        const py::array& dy, const py::array& x, const py::array& dw) {
  return transform("conv2d_grad_weight", weight_gradient_convolution(p), plan.transforms.front(),
                   numbers, dy, x, dw);
}

}  // namespace convpool::bindings
