// One pool of threads for the whole process. Knows tasks, nothing of what they compute.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

namespace convpool {

// CPUs that this process may use: its affinity mask, and the quota of its control group.
int available_threads();

// What get_num_threads() says: the calling thread's scope, else the process' setting, else
// CONVPOOL_NUM_THREADS, else OMP_NUM_THREADS, else available_threads().
int num_threads();
void set_num_threads(int n);

// The setting of the calling thread, which comes before the process'; 0 for none. Returns what it
// was.
int set_scoped_num_threads(int n);

// Set for the calling thread by a caller that wants long computations to stop: called now and then
// between tasks, on that thread only; it may throw, which ends the computation.
using InterruptCheck = void (*)();
void set_interrupt_check(InterruptCheck check);

namespace detail {
using Task = void (*)(const void* body, std::int64_t task);
void parallel_for(int threads, std::int64_t tasks, Task task, const void* body);
}  // namespace detail

// Calls body(task) for every task in [0, tasks), each once, on at most `threads` threads, the
// caller among them. Tasks are claimed one by one, so they may differ in length. The caller never
// waits for a thread that has not claimed one: with no free worker it does all the work itself.
// Calls from inside a task, and calls while another thread's are running, run on the caller alone.
// The first exception of a task is thrown here, after the others have ended.
template <class Body>
void parallel_for(int threads, std::int64_t tasks, const Body& body) {
  const auto call = [](const void* erased, std::int64_t task) {
    (*static_cast<const Body*>(erased))(task);
  };
  detail::parallel_for(threads, tasks, call, &body);
}

}  // namespace convpool
