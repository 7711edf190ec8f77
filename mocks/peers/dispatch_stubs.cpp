#include "peers/dispatch_stubs.h"

#include <array>

#include "kernel/kernel.h"

namespace nmrfuzz::peers {
namespace {

// In the System V convention a callee may ignore whatever arguments it was given.
long stub() {
  kernel::current_kernel().point(kernel::Routine::PeerFunction);
  return 0;
}

using Stub = long (*)();

constexpr std::array<Stub, kStubs> make_table() {
  std::array<Stub, kStubs> table{};
  table.fill(&stub);
  return table;
}

constexpr std::array<Stub, kStubs> kTable = make_table();

}  // namespace

const void* dispatch_stubs() { return kTable.data(); }

}  // namespace nmrfuzz::peers
