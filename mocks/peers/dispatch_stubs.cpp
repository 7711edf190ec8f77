#include "peers/dispatch_stubs.h"

#include <array>
#include <utility>

#include "kernel/kernel.h"

namespace nmrfuzz::peers {
namespace {

using kernel::Routine;
using nmr::Role;
using trace::EventKind;

using Stub = long (*)(const void* first_argument);
using Table = std::array<Stub, kStubs>;

// Small values are counts, flags and the like, which mean nothing where a context is looked for.
constexpr std::uintptr_t kLowestContext = 0x10000;

std::uint64_t number_of_context(const kernel::Kernel& kernel, const void* first_argument) {
  return reinterpret_cast<std::uintptr_t>(first_argument) >= kLowestContext
             ? kernel.known_number_of_value(first_argument)
             : 0;
}

// A call from its beginning to its end. The module may have been detached at either scheduling point.
[[gnu::noinline]] void record_call(Role caller, trace::ObjectNumber binding, unsigned slot,
                                   const void* first_argument) {
  kernel::Kernel& kernel = kernel::current_kernel();
  const auto side = static_cast<std::int32_t>(caller);
  kernel.point(Routine::PeerFunction, binding);
  const std::uint64_t context = number_of_context(kernel, first_argument);
  kernel.write(EventKind::kNpiCallEnter, Routine::PeerFunction, binding, side, slot, context);
  kernel.point(Routine::PeerFunction, binding);
  kernel.write(EventKind::kNpiCallExit, Routine::PeerFunction, binding, side, slot, context);
}

// In the System V convention a callee may ignore whatever arguments it was given. Which function of which table this is
// lies in its type, so that nothing has to be looked up. `kTable`: the binding's number, 0 of the shared table.
template <Role kCaller, trace::ObjectNumber kTable, unsigned kSlot>
long stub(const void* first_argument) {
  record_call(kCaller, kTable, kSlot, first_argument);
#if defined(__x86_64__)
  // A context left in the register would look like the argument of a following call without any.
  asm volatile("xor %%edi, %%edi" ::: "rdi");
#endif
  return 0;
}

template <Role kCaller, trace::ObjectNumber kTable, unsigned... kSlots>
constexpr Table make_table(std::integer_sequence<unsigned, kSlots...>) {
  return {&stub<kCaller, kTable, kSlots>...};
}

template <Role kCaller, trace::ObjectNumber... kTables>
constexpr auto make_tables(std::integer_sequence<trace::ObjectNumber, kTables...>) {
  return std::array{make_table<kCaller, kTables>(std::make_integer_sequence<unsigned, kStubs>())...};
}

// Number 0 is the shared one.
using TableNumbers = std::make_integer_sequence<trace::ObjectNumber, kBindingsWithTable + 1>;
constexpr auto kTablesForClients = make_tables<Role::kClient>(TableNumbers());
constexpr auto kTablesForProviders = make_tables<Role::kProvider>(TableNumbers());

}  // namespace

const void* dispatch_stubs(Role caller, trace::ObjectNumber binding) {
  const auto& tables = caller == Role::kClient ? kTablesForClients : kTablesForProviders;
  return tables[binding <= kBindingsWithTable ? binding : 0].data();
}

}  // namespace nmrfuzz::peers
