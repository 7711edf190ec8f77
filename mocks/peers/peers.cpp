#include "peers/peers.h"

#include "kernel/status.h"
#include "peers/dispatch_stubs.h"

namespace nmrfuzz::peers {

using nmr::Role;
using nmr::Status;
using schedule::ChoiceKind;

Peers::Peers(kernel::Kernel& kernel, nmr::FiberRegistrar& registrar) : kernel_(kernel), registrar_(registrar) {}

void Peers::reset(std::span<const NpiUse> uses) {
  peers_.clear();
  bindings_.clear();
  released_ = false;
  gate_ = kernel_.number_of(kernel_.add_object(kernel::ObjectKind::kRegistrarWait, nullptr));
  for (const NpiUse& use : uses) {
    do {
      add_peer(use);
    } while (peers_.size() < kPeersMaximum && chance(3));
  }
}

bool Peers::chance(std::uint32_t one_in) { return kernel_.scheduler().choose(one_in, ChoiceKind::kPeer) == one_in - 1; }

void Peers::add_peer(const NpiUse& use) {
  Peer& peer = peers_.add();
  peer.owner = this;
  peer.role = opposite(use.role);
  peer.present = !chance(16);
  peer.behaviour = decide();
  const bool client = peer.role == Role::kClient;
  peer.characteristics.npi = use.id;
  peer.characteristics.instance = instances_.of(peer.role, use.id);
  peer.characteristics.callbacks = {
      client ? reinterpret_cast<void*>(&Peers::attach_as_client) : reinterpret_cast<void*>(&Peers::attach_as_provider),
      reinterpret_cast<void*>(&Peers::detach), reinterpret_cast<void*>(&Peers::cleanup)};
}

Behaviour Peers::decide() {
  schedule::Scheduler& scheduler = kernel_.scheduler();
  Behaviour behaviour;
  behaviour.arrival = static_cast<Behaviour::Arrival>(scheduler.choose(3, ChoiceKind::kPeer));
  behaviour.answer = chance(8) ? Behaviour::Answer::kDecline : Behaviour::Answer::kAccept;
  behaviour.detach = static_cast<Behaviour::Detach>(scheduler.choose(4, ChoiceKind::kPeer));
  behaviour.departure = static_cast<Behaviour::Departure>(scheduler.choose(3, ChoiceKind::kPeer));
  if (behaviour.departure != Behaviour::Departure::kAfterModule) {
    behaviour.departs_at_dispatch = chance(2);
    behaviour.visits = static_cast<std::uint8_t>(1 + scheduler.choose(2, ChoiceKind::kPeer));
  }
  return behaviour;
}

void Peers::arrive_before() {
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    Peer& peer = peers_[i];
    if (!peer.present || peer.behaviour.arrival == Behaviour::Arrival::kAfterModule) {
      continue;
    }
    if (peer.behaviour.arrival == Behaviour::Arrival::kBeforeModule) {
      register_peer(peer);
    }
    start(peer);
  }
}

void Peers::arrive_after() {
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    if (peers_[i].present && peers_[i].behaviour.arrival == Behaviour::Arrival::kAfterModule) {
      start(peers_[i]);
    }
  }
}

void Peers::release() {
  released_ = true;
  kernel_.wake_all(gate_);
}

void Peers::start(Peer& peer) {
  kernel_.spawn(schedule::ThreadRole::kPeer, &Peers::peer_thread, &peer, kernel::kPassiveLevel);
}

void Peers::peer_thread(void* peer) {
  Peer& self = *static_cast<Peer*>(peer);
  self.owner->live(self);
}

void Peers::live(Peer& peer) {
  for (std::uint8_t visit = 0; visit < peer.behaviour.visits; ++visit) {
    if (!peer.registered) {
      register_peer(peer);
    }
    switch (peer.behaviour.departure) {
      case Behaviour::Departure::kAfterModule:
        await_release();
        break;
      case Behaviour::Departure::kAtOnce:
        break;
      case Behaviour::Departure::kWhenIdle:
        kernel_.scheduler().wait_until_idle();
        break;
    }
    deregister_peer(peer);
  }
}

void Peers::await_release() {
  while (!released_) {
    kernel_.block_on(gate_);
  }
}

void Peers::register_peer(Peer& peer) {
  registrar_.register_module(peer.role, peer.characteristics, &peer, &peer.handle);
  peer.registered = true;
}

void Peers::deregister_peer(Peer& peer) {
  if (peer.behaviour.departs_at_dispatch) {
    kernel_.set_irql(kernel::kDispatchLevel);
  }
  const Status status = registrar_.deregister(peer.role, peer.handle);
  kernel_.set_irql(kernel::kPassiveLevel);
  if (status == kernel::kStatusPending) {
    registrar_.wait_for_deregister(peer.role, peer.handle);
  }
  peer.registered = false;
}

Status Peers::attach_as_client(void* handle, void* context, const void*) {
  Peer& peer = *static_cast<Peer*>(context);
  if (peer.behaviour.answer == Behaviour::Answer::kDecline) {
    return kernel::kStatusNoInterface;
  }
  Binding& binding = peer.owner->bindings_.add();
  binding = {&peer, handle};
  void* provider_context = nullptr;
  const void* provider_dispatch = nullptr;
  const void* const dispatch = dispatch_stubs(Role::kProvider, nmr::number_of_handle(handle));
  return peer.owner->registrar_.client_attach_provider(handle, &binding, dispatch, &provider_context,
                                                       &provider_dispatch);
}

Status Peers::attach_as_provider(void* handle, void* context, const void*, void*, const void*, void** provider_context,
                                 const void** provider_dispatch) {
  Peer& peer = *static_cast<Peer*>(context);
  if (peer.behaviour.answer == Behaviour::Answer::kDecline) {
    return kernel::kStatusNoInterface;
  }
  Binding& binding = peer.owner->bindings_.add();
  binding = {&peer, handle};
  *provider_context = &binding;
  *provider_dispatch = dispatch_stubs(Role::kClient, nmr::number_of_handle(handle));
  return kernel::kStatusSuccess;
}

Status Peers::detach(void* context) {
  Binding& binding = *static_cast<Binding*>(context);
  Peers& owner = *binding.peer->owner;
  switch (binding.peer->behaviour.detach) {
    case Behaviour::Detach::kSucceed:
      return kernel::kStatusSuccess;
    case Behaviour::Detach::kCompleteInside:
      complete(binding);
      break;
    case Behaviour::Detach::kCompleteFromThread:
      owner.kernel_.spawn(schedule::ThreadRole::kPeer, &Peers::complete_thread, &binding, kernel::kPassiveLevel);
      break;
    case Behaviour::Detach::kCompleteFromDpc:
      owner.kernel_.spawn(schedule::ThreadRole::kPeer, &Peers::complete_thread, &binding, kernel::kDispatchLevel);
      break;
  }
  return kernel::kStatusPending;
}

void Peers::complete_thread(void* binding) { complete(*static_cast<Binding*>(binding)); }

void Peers::complete(Binding& binding) {
  binding.peer->owner->registrar_.detach_complete(binding.peer->role, binding.handle);
}

void Peers::cleanup(void*) {
  // Binding records live in the peers' own table until the execution ends.
}

}  // namespace nmrfuzz::peers
