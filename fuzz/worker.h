// worker.h - the process in which modules run. It carries out one order and ends; the supervisor watches it.
#pragma once

namespace nmrfuzz::fuzz {

// The hidden first argument that makes a worker of the nmrfuzz program; the second is the order.
inline constexpr const char* kWorkerArgument = "worker";

// Returns the exit status.
int run_worker(const char* order);

}  // namespace nmrfuzz::fuzz
