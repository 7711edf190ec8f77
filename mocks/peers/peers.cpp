#include "peers/peers.h"

#include <utility>

#include "kernel/status.h"
#include "peers/dispatch_stubs.h"

namespace nmrfuzz::peers {

using nmr::Role;
using nmr::Status;

Peers::Peers(kernel::Kernel& kernel, nmr::FiberRegistrar& registrar) : kernel_(kernel), registrar_(registrar) {}

void Peers::reset() {
  peers_.clear();
  bindings_.clear();
  overtaken_ = nullptr;
  gate_ = 0;
  released_ = false;
}

void Peers::add(const NpiUse& use, const Behaviour& behaviour) {
  Peer& peer = peers_.add();
  peer.owner = this;
  peer.role = opposite(use.role);
  peer.behaviour = behaviour;
  peer.visits_left = static_cast<std::uint8_t>(1 + static_cast<std::uint8_t>(behaviour.visits));
  const bool client = peer.role == Role::kClient;
  peer.characteristics.npi = use.id;
  peer.characteristics.instance = instances_.of(peer.role, use.id);
  peer.characteristics.callbacks = {
      client ? reinterpret_cast<void*>(&Peers::attach_as_client) : reinterpret_cast<void*>(&Peers::attach_as_provider),
      reinterpret_cast<void*>(&Peers::detach), reinterpret_cast<void*>(&Peers::cleanup)};
}

void Peers::start(schedule::ThreadBody body, void* argument, std::uint8_t irql) {
  kernel_.spawn(schedule::ThreadRole::kPeer, body, argument, irql);
}

// Coming and going -------------------------------------------------------------------------------------------------

void Peers::arrive_before() {
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    Peer& peer = peers_[i];
    if (peer.behaviour.arrival == Arrival::kBefore) {
      register_peer(peer);
    }
    const bool stays =
        peer.behaviour.departure == Departure::kAfterModule || peer.behaviour.departure == Departure::kDuringAttach;
    if (peer.behaviour.arrival == Arrival::kConcurrently || (peer.behaviour.arrival == Arrival::kBefore && !stays)) {
      start(&Peers::visit_thread, &peer);
    }
  }
}

void Peers::arrive_after() {
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    if (peers_[i].behaviour.arrival == Arrival::kAfter) {
      start(&Peers::visit_thread, &peers_[i]);
    }
  }
}

// All begin before the first wait, as the contract advises everybody (R107).
void Peers::release() {
  released_ = true;
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    peers_[i].leaves_at_release = !peers_[i].departs_now && begin_departure(peers_[i]);
  }
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    if (peers_[i].leaves_at_release) {
      end_departure(peers_[i]);
    }
  }
}

void Peers::visit_thread(void* peer) {
  Peer& self = *static_cast<Peer*>(peer);
  self.owner->come(self);
}

// Comes, if it is not there, and goes, as often as it visits. One that departs after the module leaves that to
// release(); one that departs during its attach, to a thread that is started then.
void Peers::come(Peer& peer) {
  for (;;) {
    if (peer.state == State::kAway) {
      if (released_) {
        return;
      }
      register_peer(peer);
    }
    switch (peer.behaviour.departure) {
      case Departure::kAfterModule:
      case Departure::kDuringAttach:
        if (released_) {
          leave(peer);
        }
        return;
      case Departure::kAtOnce:
        break;
      case Departure::kAtRest:
        kernel_.scheduler().wait_until_idle();
        break;
    }
    leave(peer);
    if (peer.visits_left == 0 || released_) {
      return;
    }
  }
}

void Peers::register_peer(Peer& peer) {
  peer.state = State::kRegistering;
  peer.was_asked = false;
  peer.departs_now = false;
  if (peer.visits_left != 0) {
    --peer.visits_left;
  }
  registrar_.register_module(peer.role, peer.characteristics, &peer, &peer.handle);
  peer.state = State::kRegistered;
  if (gate_ != 0) {
    kernel_.wake_all(gate_);
  }
}

// False if it is not there, or about to leave already.
bool Peers::begin_departure(Peer& peer) {
  if (peer.state != State::kRegistered) {
    return false;
  }
  peer.state = State::kLeaving;
  if (peer.behaviour.departure_level == DepartureLevel::kDispatch) {
    kernel_.set_irql(kernel::kDispatchLevel);
  }
  const Status status = registrar_.deregister(peer.role, peer.handle);
  kernel_.set_irql(kernel::kPassiveLevel);
  if (status != kernel::kStatusPending) {
    peer.state = State::kAway;
  }
  return true;
}

void Peers::end_departure(Peer& peer) {
  if (peer.state == State::kLeaving) {
    registrar_.wait_for_deregister(peer.role, peer.handle);
    peer.state = State::kAway;
  }
}

void Peers::leave(Peer& peer) {
  if (begin_departure(peer)) {
    end_departure(peer);
  }
}

// Deregisters a peer in the midst of its attach. Its own Register, of which the attach may be part, returns first.
void Peers::departure_thread(void* argument) {
  Peer& peer = *static_cast<Peer*>(argument);
  Peers& self = *peer.owner;
  while (peer.state == State::kRegistering) {
    if (self.gate_ == 0) {
      self.gate_ = self.kernel_.number_of(self.kernel_.add_object(kernel::ObjectKind::kRegistrarWait, nullptr));
    }
    self.kernel_.block_on(self.gate_);
  }
  self.leave(peer);
  if (peer.visits_left != 0 && !self.released_) {
    self.come(peer);
  }
}

// Bindings -----------------------------------------------------------------------------------------------------------

// The answer to an offer or a question, after as long as the peer takes. STATUS_SUCCESS: it accepts.
Status Peers::answer(Peer& peer) {
  Peers& self = *peer.owner;
  if (peer.behaviour.departure == Departure::kDuringAttach && !std::exchange(peer.departs_now, true)) {
    self.start(&Peers::departure_thread, &peer);
  }
  if (peer.behaviour.attach == Attach::kLate) {
    self.kernel_.scheduler().wait_until_idle();
  }
  const bool first = !std::exchange(peer.was_asked, true);
  switch (peer.behaviour.answer) {
    case Answer::kAccept:
      return kernel::kStatusSuccess;
    case Answer::kDecline:
      return kernel::kStatusNoInterface;
    case Answer::kFail:
      return kernel::kStatusInsufficientResources;
    case Answer::kDeclineAtFirst:
      break;
  }
  return first ? kernel::kStatusNoInterface : kernel::kStatusSuccess;
}

Peers::Binding& Peers::bind(Peer& peer, void* handle) {
  Binding& binding = bindings_.add();
  binding.peer = &peer;
  binding.handle = handle;
  binding.detach = peer.bindings++ == 0 ? peer.behaviour.first_detach : peer.behaviour.later_detach;
  return binding;
}

Status Peers::attach_as_client(void* handle, void* context, const void*) {
  Peer& peer = *static_cast<Peer*>(context);
  if (const Status status = answer(peer); status != kernel::kStatusSuccess) {
    return status;
  }
  Binding& binding = peer.owner->bind(peer, handle);
  void* provider_context = nullptr;
  const void* provider_dispatch = nullptr;
  const void* const dispatch = dispatch_stubs(Role::kProvider, nmr::number_of_handle(handle));
  return peer.owner->registrar_.client_attach_provider(handle, &binding, dispatch, &provider_context,
                                                       &provider_dispatch);
}

Status Peers::attach_as_provider(void* handle, void* context, const void*, void*, const void*, void** provider_context,
                                 const void** provider_dispatch) {
  Peer& peer = *static_cast<Peer*>(context);
  if (const Status status = answer(peer); status != kernel::kStatusSuccess) {
    return status;
  }
  *provider_context = &peer.owner->bind(peer, handle);
  *provider_dispatch = dispatch_stubs(Role::kClient, nmr::number_of_handle(handle));
  return kernel::kStatusSuccess;
}

// Detaching ----------------------------------------------------------------------------------------------------------

Status Peers::detach(void* context) {
  Binding& binding = *static_cast<Binding*>(context);
  Peers& self = *binding.peer->owner;
  self.complete_overtaken();
  switch (binding.detach) {
    case Detach::kSucceed:
      return kernel::kStatusSuccess;
    case Detach::kCompleteInside:
      complete(binding);
      break;
    case Detach::kCompleteFromThread:
      self.start(&Peers::complete_thread, &binding);
      break;
    case Detach::kCompleteFromDpc:
      self.start(&Peers::complete_thread, &binding, kernel::kDispatchLevel);
      break;
    case Detach::kCompleteAfterNext:
      self.overtaken_ = &binding;
      [[fallthrough]];
    case Detach::kCompleteAtRest:
      self.start(&Peers::complete_at_rest_thread, &binding);
      break;
  }
  return kernel::kStatusPending;
}

// The detach callback of another binding is running: one that waited for that may complete now.
void Peers::complete_overtaken() {
  if (Binding* const binding = std::exchange(overtaken_, nullptr); binding != nullptr) {
    start(&Peers::complete_thread, binding);
  }
}

void Peers::complete_thread(void* binding) { complete(*static_cast<Binding*>(binding)); }

void Peers::complete_at_rest_thread(void* argument) {
  Binding& binding = *static_cast<Binding*>(argument);
  Peers& self = *binding.peer->owner;
  self.kernel_.scheduler().wait_until_idle();
  if (self.overtaken_ == &binding) {
    self.overtaken_ = nullptr;
  }
  complete(binding);
}

// Once, whoever comes first.
void Peers::complete(Binding& binding) {
  if (!std::exchange(binding.completed, true)) {
    binding.peer->owner->registrar_.detach_complete(binding.peer->role, binding.handle);
  }
}

void Peers::cleanup(void*) {
  // Binding records live in the peers' own table until the execution ends.
}

}  // namespace nmrfuzz::peers
