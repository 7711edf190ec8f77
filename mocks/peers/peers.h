// peers.h - the modules at the other end of each binding: made by themselves for whatever the module registers.
//
// Each is given an NPI, the opposite role and a Behaviour when the execution begins. Peers keep every rule of the
// contract; without knowledge of an NPI a provider peer's table holds stubs that return STATUS_SUCCESS, and a client
// peer calls nothing.
// Threads: a peer has one only while it does something by itself. Those that stay until the module is gone deregister
// on the thread that calls release().
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "kernel/kernel.h"
#include "nmr/fiber_port.h"
#include "nmr/stable_table.h"
#include "peers/behaviour.h"
#include "peers/instance.h"

namespace nmrfuzz::peers {

// One NPI as the modules under test use it.
struct NpiUse {
  std::array<std::uint64_t, 2> id{};
  nmr::Role role = nmr::Role::kProvider;  // of the module under test

  bool operator==(const NpiUse&) const = default;
};

class Peers {
 public:
  static constexpr std::size_t kMaximum = 4096;

  Peers(kernel::Kernel& kernel, nmr::FiberRegistrar& registrar);
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  // A new execution without peers. After the reset of kernel and registrar.
  void reset();
  // A peer for `use`. Before arrive_before(). REQUIRES: fewer than kMaximum so far.
  void add(const NpiUse& use, const Behaviour& behaviour);
  // Registers those that come before the module, on the calling thread, and starts the threads of those that come by
  // themselves.
  void arrive_before();
  // Starts those that come after the module has loaded.
  void arrive_after();
  // The modules under test are gone: every peer that is still there leaves, and none comes any more.
  void release();

 private:
  enum class State : std::uint8_t { kAway, kRegistering, kRegistered, kLeaving };
  struct Peer {
    Peers* owner = nullptr;
    nmr::Role role = nmr::Role::kClient;
    nmr::Characteristics characteristics;
    Behaviour behaviour;
    State state = State::kAway;
    void* handle = nullptr;
    std::uint8_t visits_left = 0;
    bool was_asked = false;    // in this visit
    bool departs_now = false;  // a thread that deregisters it has been started
    bool leaves_at_release = false;
    std::uint32_t bindings = 0;
  };
  // One binding as its peer sees it; its address is the binding context.
  struct Binding {
    Peer* peer = nullptr;
    void* handle = nullptr;
    Detach detach = Detach::kSucceed;
    bool completed = false;
  };

  void start(schedule::ThreadBody body, void* argument, std::uint8_t irql = kernel::kPassiveLevel);
  void come(Peer& peer);
  void register_peer(Peer& peer);
  bool begin_departure(Peer& peer);
  void end_departure(Peer& peer);
  void leave(Peer& peer);
  Binding& bind(Peer& peer, void* handle);
  void complete_overtaken();
  static nmr::Status answer(Peer& peer);
  static void complete(Binding& binding);

  static void visit_thread(void* peer);
  static void departure_thread(void* peer);
  static void complete_thread(void* binding);
  static void complete_at_rest_thread(void* binding);
  static nmr::Status attach_as_client(void* handle, void* context, const void* instance);
  static nmr::Status attach_as_provider(void* handle, void* context, const void* instance, void* client_context,
                                        const void* client_dispatch, void** provider_context,
                                        const void** provider_dispatch);
  static nmr::Status detach(void* binding);
  static void cleanup(void* binding);

  kernel::Kernel& kernel_;
  nmr::FiberRegistrar& registrar_;
  Instances instances_;
  nmr::StableTable<Peer> peers_;
  nmr::StableTable<Binding> bindings_;
  Binding* overtaken_ = nullptr;  // completes after the next detach callback
  trace::ObjectNumber gate_ = 0;  // what threads wait on until a peer's Register has returned; made when needed
  bool released_ = false;
};

}  // namespace nmrfuzz::peers
