// Tasks over threads. Compiled for the baseline alone: the standard library's inline functions must not be wide.
#include "threads.h"

#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

extern "C" void fw_parallel(int64_t tasks, int64_t threads, void (*run)(void*, int64_t, int64_t), void* context) {
    if (threads > tasks) threads = tasks;
    std::atomic<int64_t> next{0};
    auto work = [&](int64_t thread) {
        for (int64_t task; (task = next.fetch_add(1)) < tasks;) run(context, task, thread);
    };
    std::vector<std::thread> others;
    try {
        for (int64_t thread = 1; thread < threads; ++thread) others.emplace_back(work, thread);
    } catch (const std::system_error&) {
        // The system gives no more threads. Those there are do the same work, and Python could not catch this.
    }
    work(0);
    for (auto& other : others) other.join();
}
