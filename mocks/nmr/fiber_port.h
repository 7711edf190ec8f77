// fiber_port.h - the registrar's port on simulated threads: the kernel's scheduler, waits and events.
#pragma once

#include "kernel/kernel.h"
#include "nmr/records.h"
#include "nmr/registrar.h"

namespace nmrfuzz::nmr {

class FiberPort {
 public:
  explicit FiberPort(kernel::Kernel& kernel) : kernel_(&kernel) {}

  // Nothing yields between lock() and unlock(), so there is nobody to keep out.
  void lock() {}
  void unlock() {}

  // Inlined down to the switch of stacks, as Scheduler::point() is.
  [[gnu::always_inline]] void point(kernel::Routine routine, ObjectNumber object) { kernel_->point(routine, object); }
  bool fails(kernel::Routine routine) { return kernel_->fails(routine); }
  std::uint32_t decide(std::uint32_t alternatives, schedule::ChoiceKind kind) {
    return kernel_->scheduler().choose(alternatives, kind);
  }

  void park(ObjectNumber& object) {
    if (object == 0) {
      object = kernel_->number_of(kernel_->add_object(kernel::ObjectKind::kRegistrarWait, nullptr));
    }
    kernel_->block_on(object);
  }
  void wake(ObjectNumber object) {
    if (object != 0) {
      kernel_->wake_all(object);
    }
  }

  // Notes that `data` is in use until release(): freeing the pool block around it is a breach. 0 for what lies
  // elsewhere. `what`: kernel::kHeldStructure and so on; `user`: the registration or binding that uses it.
  ObjectNumber hold(const void* data, std::uint8_t what, ObjectNumber user) {
    if (!kernel::Pool::contains(data)) {
      return 0;
    }
    kernel::Object& held = kernel_->add_object(kernel::ObjectKind::kRegistrationData, data);
    held.queued = true;
    held.flags = what;
    held.link = user;
    return kernel_->number_of(held);
  }
  void release(ObjectNumber held) { kernel_->objects().at(held).queued = false; }

  void spawn(schedule::ThreadBody body, void* argument) {
    kernel_->spawn(schedule::ThreadRole::kRegistrar, body, argument, kernel::kPassiveLevel);
  }

  [[gnu::always_inline]] void emit(trace::EventKind kind, kernel::Routine routine, ObjectNumber object, Status status,
                                   std::uint64_t a, std::uint64_t b, ModuleNumber module) {
    kernel_->scheduler().write(kind, object, a, b, static_cast<std::uint32_t>(status),
                               static_cast<trace::RoutineNumber>(routine), module);
  }

  void breach(trace::Outcome outcome, const Registration& registration) {
    kernel_->breach(
        registration.role == Role::kClient ? kernel::Routine::NmrRegisterClient : kernel::Routine::NmrRegisterProvider,
        outcome, registration.number);
  }

  void stop() { kernel_->scheduler().end(schedule::EndReason::kStopped); }

  template <class Function>
  [[gnu::always_inline]] Status call(ModuleNumber module, kernel::Routine callback, Function function) {
    return kernel_->call_into(module, callback, function);
  }

  ThreadNumber thread() const { return kernel_->scheduler().current().number; }
  ModuleNumber module() { return kernel_->thread_state().module; }
  std::uint8_t irql() const { return kernel_->irql(); }
  void set_irql(std::uint8_t irql) { kernel_->set_irql(irql); }
  std::uint32_t number_of(const void* value) { return kernel_->number_of_value(value); }

 private:
  kernel::Kernel* kernel_;
};

using FiberRegistrar = Registrar<FiberPort>;
extern template class Registrar<FiberPort>;

// The registrar that the C entry points act on; see kernel::current_kernel().
FiberRegistrar& current_registrar();
FiberRegistrar* set_current_registrar(FiberRegistrar* registrar);

}  // namespace nmrfuzz::nmr
