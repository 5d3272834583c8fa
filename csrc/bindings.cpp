// The compiled module: its registration and its configuration.

#include "bindings.hpp"

#include <pybind11/stl.h>

#include "dispatch.hpp"

#if defined(__clang__)
#define CONVPOOL_COMPILER "Clang " __clang_version__
#else
#define CONVPOOL_COMPILER "GCC " __VERSION__
#endif

// By this symbol threadpoolctl tells this library from others of the name _core.
extern "C" PYBIND11_EXPORT int convpool_num_threads() { return convpool::num_threads(); }

namespace convpool::bindings {
namespace {

py::dict build_config() {
  py::dict config;
  config["version"] = CONVPOOL_VERSION;
  config["compiler"] = CONVPOOL_COMPILER;
  config["instruction_sets_built"] = built_instruction_sets();
  config["instruction_sets_detected"] = detected_instruction_sets();
  config["instruction_set"] = active_kernels().name;
  return config;
}

void set_num_threads(Object n) { convpool::set_num_threads(parse_threads("n", to_index("n", n))); }

// For num_threads(n), the context manager: None restores the default.
py::object set_scoped_num_threads(Object n) {
  const int before = convpool::set_scoped_num_threads(
      n.is_none() ? 0 : parse_threads("n", to_index("n", n)));
  return before ? py::object(py::int_(before)) : py::object(py::none());
}

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
    } catch (const std::bad_alloc&) {
      PyErr_SetString(PyExc_MemoryError, "not enough memory for the result and its scratch");
    }
  });
  initialize_arrays();
  module.attr("__version__") = CONVPOOL_VERSION;
  module.def("build_config", build_config);
  module.def("get_num_threads", convpool::num_threads);
  module.def("set_num_threads", set_num_threads);
  module.def("set_scoped_num_threads", set_scoped_num_threads);

  bind_columns(module);
  bind_convolutions(module);
  bind_pools(module);
  bind_transforms(module);
}

}  // namespace convpool::bindings
