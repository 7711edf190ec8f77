// peers.h - the modules at the other end of each binding: made by themselves for whatever the module registers.
//
// For each NPI of the modules under test there is at least one peer of the opposite role, seldom several. What each
// does is decided when the execution begins, among all that the contract allows a module to do: come before or after,
// decline, pend its detach and complete it inside the callback, from a thread of its own or from a DPC, leave first, at
// either IRQL, come back. Peers keep every rule; without knowledge of an NPI a provider peer's table holds stubs that
// return STATUS_SUCCESS, and a client peer calls nothing.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "kernel/kernel.h"
#include "nmr/fiber_port.h"
#include "nmr/stable_table.h"
#include "peers/instance.h"
#include "schedule/strategy.h"

namespace nmrfuzz::peers {

// One NPI as the modules under test use it.
struct NpiUse {
  std::array<std::uint64_t, 2> id{};
  nmr::Role role = nmr::Role::kProvider;  // of the module under test

  bool operator==(const NpiUse&) const = default;
};

// How one peer behaves in one execution.
struct Behaviour {
  enum class Arrival : std::uint8_t { kBeforeModule, kConcurrent, kAfterModule };
  enum class Answer : std::uint8_t { kAccept, kDecline };
  enum class Detach : std::uint8_t { kSucceed, kCompleteInside, kCompleteFromThread, kCompleteFromDpc };
  enum class Departure : std::uint8_t { kAfterModule, kAtOnce, kWhenIdle };

  Arrival arrival = Arrival::kBeforeModule;
  Answer answer = Answer::kAccept;
  Detach detach = Detach::kSucceed;
  Departure departure = Departure::kAfterModule;
  bool departs_at_dispatch = false;  // calls Deregister at DISPATCH_LEVEL
  std::uint8_t visits = 1;           // how often it registers, where it departs by itself
};

class Peers {
 public:
  Peers(kernel::Kernel& kernel, nmr::FiberRegistrar& registrar);
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  // Prepares the peers of an execution for `uses`; each is decided, down to its absence. The first alternatives
  // together are one peer for each use, which comes first, accepts, succeeds and leaves last.
  void reset(std::span<const NpiUse> uses);
  // Registers those that come before the module, on the calling thread, and starts the threads of those that come by
  // themselves.
  void arrive_before();
  // Starts those that come after the module has loaded.
  void arrive_after();
  // The modules under test are gone: lets every peer that is still there leave.
  void release();

 private:
  struct Peer;
  // One binding as its peer sees it; its address is the binding context.
  struct Binding {
    Peer* peer = nullptr;
    void* handle = nullptr;
  };
  struct Peer {
    Peers* owner = nullptr;
    nmr::Role role = nmr::Role::kClient;
    nmr::Characteristics characteristics;
    Behaviour behaviour;
    void* handle = nullptr;
    bool present = false;
    bool registered = false;
  };

  static constexpr std::size_t kPeersMaximum = 4096;

  void add_peer(const NpiUse& use);
  Behaviour decide();
  bool chance(std::uint32_t one_in);
  void register_peer(Peer& peer);
  void deregister_peer(Peer& peer);
  void live(Peer& peer);
  void await_release();
  void start(Peer& peer);

  static void peer_thread(void* peer);
  static void complete_thread(void* binding);
  static nmr::Status attach_as_client(void* handle, void* context, const void* instance);
  static nmr::Status attach_as_provider(void* handle, void* context, const void* instance, void* client_context,
                                        const void* client_dispatch, void** provider_context,
                                        const void** provider_dispatch);
  static nmr::Status detach(void* binding);
  static void cleanup(void* binding);
  static void complete(Binding& binding);

  kernel::Kernel& kernel_;
  nmr::FiberRegistrar& registrar_;
  Instances instances_;
  nmr::StableTable<Peer> peers_;
  nmr::StableTable<Binding> bindings_;
  trace::ObjectNumber gate_ = 0;  // what peers wait on until release()
  bool released_ = false;
};

}  // namespace nmrfuzz::peers
