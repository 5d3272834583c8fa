// Transforms of tiles for convpool/_fft.py.
#include "bindings.hpp"
#include "tile_transform.hpp"

namespace convpool::bindings {
namespace {

// The numbers of an array of contiguous, aligned float64 that is a whole number of `unit` long.
struct Doubles {
  Doubles(const char* name, const py::array& array, Index unit, bool writes) {
    const bool fits = is_plain(array, py::dtype::of<double>()) && array.size() % unit == 0;
    if (!fits || (writes && !array.writeable())) {
      throw py::value_error(std::string(name) + " must be contiguous, aligned float64 in multiples of " +
                            std::to_string(unit));
    }
    data = static_cast<double*>(const_cast<void*>(array.data()));
    count = array.size() / unit;
  }
  double* data;
  Index count;  // of units
};

void check_count(const char* name, const Doubles& numbers, Index expected) {
  if (numbers.count == expected) return;
  throw py::value_error(std::string(name) + " must hold " + std::to_string(expected) +
                        " planes, got " + std::to_string(numbers.count));
}

void forward(const TileTransform& transform, const py::array& cells, const py::array& spectra) {
  const Doubles from("cells", cells, transform.cells(), false);
  const Doubles to("spectra", spectra, transform.spectrum_size(), true);
  check_count("spectra", to, from.count);
  const py::gil_scoped_release released;
  for (Index i = 0; i < from.count; ++i) {
    transform.forward(from.data + i * transform.cells(), to.data + i * transform.spectrum_size());
  }
}

void inverse(const TileTransform& transform, const py::array& spectra, const py::array& cells) {
  const Doubles from("spectra", spectra, transform.spectrum_size(), true);
  const Doubles to("cells", cells, transform.cells(), true);
  check_count("cells", to, from.count);
  const py::gil_scoped_release released;
  for (Index i = 0; i < from.count; ++i) {
    transform.inverse(from.data + i * transform.spectrum_size(), to.data + i * transform.cells());
  }
}

// One spectrum with each of some kernels, the next with the next kernels. `energies` are first those of
// the spectra, then of the products.
void multiply(const TileTransform& transform, const py::array& spectra, const py::array& kernels,
              bool accumulate, const py::array& products, const py::array& energies) {
  const Index size = transform.spectrum_size();
  const Doubles x("spectra", spectra, size, false), w("kernels", kernels, size, false);
  const Doubles y("products", products, size, true), sums("energies", energies, 1, true);
  check_count("products", y, w.count);
  const Index each = x.count ? w.count / x.count : 0;
  check_count("kernels", w, each * x.count);
  check_count("energies", sums, x.count + w.count);
  const py::gil_scoped_release released;
  for (Index i = 0; i < w.count; ++i) {
    const Index of = i / each;
    const SpectrumEnergies all = transform.multiply(x.data + of * size, w.data + i * size,
                                                    accumulate, y.data + i * size);
    sums.data[of] = all.spectrum;
    sums.data[x.count + i] = all.products;
  }
}

}  // namespace

void bind_transforms(py::module_& module) {
  const auto make = [](Index height, Index width) {
    if (!TileTransform::suits(height, width)) {
      throw py::value_error("tiles of " + std::to_string(height) + "x" + std::to_string(width) +
                            " cells cannot be transformed");
    }
    return std::make_unique<TileTransform>(height, width);
  };
  py::class_<TileTransform>(module, "TileTransform")
      .def(py::init(make))
      .def_property_readonly("spectrum_size",
                             [](const TileTransform& t) { return t.spectrum_size(); })
      .def("forward", forward)
      .def("inverse", inverse)
      .def("multiply", multiply);
}

}  // namespace convpool::bindings
