#include "threads.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif
#ifndef _WIN32
#include <pthread.h>
#include <signal.h>
#endif

namespace convpool {
namespace {

using Clock = std::chrono::steady_clock;

// A worker looks for the next job this long before it sleeps: waking it takes about 50 us.
constexpr auto spin_time = std::chrono::microseconds(100);
constexpr auto interrupt_period = std::chrono::milliseconds(50);
constexpr int most_threads = 256;

thread_local bool in_task = false;
thread_local bool forking = false;  // this thread holds the pool still around fork()
thread_local int scoped_threads = 0;
thread_local InterruptCheck interrupt_check = nullptr;
std::atomic<int> process_threads{0};

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// What one parallel_for shares with the workers that join it.
struct Job {
  detail::Task task = nullptr;
  const void* body = nullptr;
  std::int64_t tasks = 0;
  std::atomic<int> most_workers{0};
  std::atomic<std::int64_t> next{0};
  std::atomic<int> finished{0};  // workers that joined and left again
  std::atomic<bool> failed{false};
  std::exception_ptr error;

  void work(bool is_caller) {
    const bool checks = is_caller && interrupt_check && tasks > 1;
    Clock::time_point last_check = checks ? Clock::now() : Clock::time_point();
    while (!failed.load(std::memory_order_relaxed)) {
      const std::int64_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= tasks) return;
      try {
        task(body, index);
        if (checks && Clock::now() - last_check > interrupt_period) {
          last_check = Clock::now();
          interrupt_check();
        }
      } catch (...) {
        if (!failed.exchange(true)) error = std::current_exception();
      }
    }
  }
};

class Pool {
 public:
  // False if another thread's job is running: then nothing has been done.
  bool try_run(int threads, std::int64_t tasks, detail::Task task, const void* body) {
    std::unique_lock<std::mutex> turn(dispatch_, std::try_to_lock);
    if (!turn.owns_lock()) return false;
    job_.task = task;
    job_.body = body;
    job_.tasks = tasks;
    job_.next = 0;
    job_.finished = 0;
    job_.failed = false;
    job_.error = nullptr;
    // Spinning threads that share a CPU would keep each other from working.
    may_spin_ = threads <= available_threads();
    job_.most_workers = start_workers(static_cast<int>(std::min<std::int64_t>(threads, tasks)) - 1);
    open();
    job_.work(true);
    const int joined = close();
    while (job_.finished.load(std::memory_order_acquire) < joined) pause();
    if (const std::exception_ptr error = std::move(job_.error)) std::rethrow_exception(error);
    return true;
  }

  // Around fork(): a forked child has no workers. Idle workers are retired first, since Python
  // warns of forking with threads alive; while a job runs they are left, and the child forgets
  // them together with their locks.
  void before_fork() {
    forking = dispatch_.try_lock();
    if (forking) retire_workers();
  }
  void after_fork_in_parent() {
    if (forking) dispatch_.unlock();
  }

 private:
  // ticket_: jobs so far in the high half, closed in bit 31, workers that joined below.
  static constexpr std::uint64_t closed = std::uint64_t{1} << 31;
  static std::uint64_t job_number(std::uint64_t ticket) { return ticket >> 32; }
  static int joined_workers(std::uint64_t ticket) { return static_cast<int>(ticket & (closed - 1)); }

  void open() {
    ticket_.store((job_number(ticket_.load()) + 1) << 32);
    if (sleeping_.load() > 0) {
      std::lock_guard<std::mutex> lock(sleep_);
      wake_.notify_all();
    }
  }

  int close() { return joined_workers(ticket_.fetch_or(closed, std::memory_order_acq_rel)); }

  // A worker touches the job only between a successful join and its count in `finished`, so the
  // caller, which closes the job first, waits for no worker that comes late.
  bool try_join(std::uint64_t& last_job) {
    std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
    while (job_number(ticket) != last_job && !(ticket & closed)) {
      if (joined_workers(ticket) >= job_.most_workers) {
        last_job = job_number(ticket);
        return false;
      }
      if (ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) {
        last_job = job_number(ticket);
        return true;
      }
    }
    return false;
  }

  void run_worker(std::uint64_t last_job) {
#ifndef _WIN32
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals are the main thread's
#endif
    in_task = true;
    auto idle_since = Clock::now();
    while (!stopping_.load(std::memory_order_relaxed)) {
      if (try_join(last_job)) {
        job_.work(false);
        job_.finished.fetch_add(1, std::memory_order_release);
        idle_since = Clock::now();
      } else if (may_spin_ && Clock::now() - idle_since < spin_time) {
        for (int i = 0; i < 32; ++i) pause();
      } else {
        std::unique_lock<std::mutex> lock(sleep_);
        ++sleeping_;
        const std::uint64_t seen = job_number(ticket_.load());
        if (seen == last_job || (ticket_.load() & closed)) {
          wake_.wait(lock, [&] { return stopping_ || job_number(ticket_.load()) != seen; });
        }
        --sleeping_;
        idle_since = Clock::now();
      }
    }
  }

  // As many workers as wanted, or as the system allows.
  int start_workers(int wanted) {
    wanted = std::min(wanted, most_threads - 1);
    try {
      while (static_cast<int>(workers_.size()) < wanted) {
        workers_.emplace_back(&Pool::run_worker, this, job_number(ticket_.load()));
      }
    } catch (const std::system_error&) {
    }
    return std::min(wanted, static_cast<int>(workers_.size()));
  }

  void retire_workers() {
    {
      std::lock_guard<std::mutex> lock(sleep_);
      stopping_ = true;
      wake_.notify_all();
    }
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    stopping_ = false;
  }

  std::mutex dispatch_;
  std::vector<std::thread> workers_;
  Job job_;
  std::atomic<std::uint64_t> ticket_{closed};
  std::atomic<bool> stopping_{false}, may_spin_{true};
  std::atomic<int> sleeping_{0};
  std::mutex sleep_;
  std::condition_variable wake_;
};

// Never destroyed: workers may outlive static destructors. A forked child starts over in the same
// memory, without touching what it inherited.
alignas(Pool) unsigned char pool_memory[sizeof(Pool)];

Pool& pool() {
  static Pool* const the_pool = [] {
    Pool* made = new (pool_memory) Pool;
#ifndef _WIN32
    pthread_atfork([] { reinterpret_cast<Pool*>(pool_memory)->before_fork(); },
                   [] { reinterpret_cast<Pool*>(pool_memory)->after_fork_in_parent(); },
                   [] { new (pool_memory) Pool; });
#endif
    return made;
  }();
  return *the_pool;
}

int number_in_environment(const char* name) {
  const char* text = std::getenv(name);
  if (!text) return 0;
  char* end = nullptr;
  const long number = std::strtol(text, &end, 10);  // OMP_NUM_THREADS may go on with a comma
  return end != text && number > 0 ? static_cast<int>(std::min<long>(number, most_threads)) : 0;
}

// The strictest quota of the control groups that hold this process, in CPUs; 0 for none.
int quota() {
  int cpus = 0;
#ifdef __linux__
  const auto take = [&](double quota, double period) {
    if (quota <= 0 || period <= 0) return;
    const int allowed = std::max(1, static_cast<int>(std::ceil(quota / period)));
    cpus = cpus ? std::min(cpus, allowed) : allowed;
  };
  std::ifstream groups("/proc/self/cgroup");
  std::string line;
  while (std::getline(groups, line)) {
    if (line.rfind("0::", 0) != 0) continue;
    for (std::string path = line.substr(3);; path.resize(path.rfind('/'))) {
      std::ifstream limit("/sys/fs/cgroup" + path + "/cpu.max");
      double quota = 0, period = 0;
      if (limit >> quota >> period) take(quota, period);
      if (path.find('/') == std::string::npos) break;
    }
  }
  double quota = 0, period = 0;
  std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
  std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  take(quota, period);
#endif
  return cpus;
}

int detect_threads() {
  int cpus = static_cast<int>(std::thread::hardware_concurrency());
#ifdef __linux__
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) cpus = CPU_COUNT(&mask);
#endif
  const int allowed = quota();
  if (allowed) cpus = std::min(cpus, allowed);
  return std::clamp(cpus, 1, most_threads);
}

}  // namespace

int available_threads() {
  static const int detected = detect_threads();
  return detected;
}

int num_threads() {
  if (scoped_threads) return scoped_threads;
  if (const int set = process_threads) return set;
  static const int from_environment = [] {
    const int own = number_in_environment("CONVPOOL_NUM_THREADS");
    return own ? own : number_in_environment("OMP_NUM_THREADS");
  }();
  return from_environment ? from_environment : available_threads();
}

void set_num_threads(int n) { process_threads = n; }

int set_scoped_num_threads(int n) {
  const int before = scoped_threads;
  scoped_threads = n;
  return before;
}

void set_interrupt_check(InterruptCheck check) { interrupt_check = check; }

void detail::parallel_for(int threads, std::int64_t tasks, Task task, const void* body) {
  if (tasks <= 0) return;
  if (threads > 1 && tasks > 1 && !in_task) {
    in_task = true;
    try {
      const bool done = pool().try_run(threads, tasks, task, body);
      in_task = false;
      if (done) return;
    } catch (...) {
      in_task = false;
      throw;
    }
  }
  Job alone;
  alone.task = task;
  alone.body = body;
  alone.tasks = tasks;
  alone.work(true);
  if (alone.error) std::rethrow_exception(alone.error);
}

}  // namespace convpool
