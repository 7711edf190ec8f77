#include "kernel/reader_writer.h"

#include "kernel/mutant.h"

namespace nmrfuzz::kernel {

namespace {

// A scheduling point. Whether the lock is still there behind it.
bool reach(Kernel& kernel, Routine routine, const Object& lock) {
  const ObjectNumber number = kernel.number_of(lock);
  kernel.point(routine, number);
  if (lock.kind == ObjectKind::kNone) {
    kernel.breach(routine, Outcome::kFreedObject, number);
    return false;
  }
  return true;
}

}  // namespace

void acquire_exclusive(Kernel& kernel, Routine routine, Object& lock, std::uint64_t a) {
  if (!reach(kernel, routine, lock)) {
    return;
  }
  const ObjectNumber number = kernel.number_of(lock);
  const ThreadNumber self = kernel.scheduler().current().number;
  if (lock.owner == self || kernel.thread_state().shared.contains(number)) {
    kernel.breach(routine, Outcome::kLockRecursive, number);
    return;
  }
  ++lock.count;
  while (lock.owner != 0 || (lock.readers != 0 && !is_mutant(Mutant::kWriterJoinsReaders))) {
    kernel.block_on(number);
  }
  --lock.count;
  lock.owner = self;
  ++kernel.thread_state().locks_held;
  kernel.called(routine, number, 0, a);
}

void acquire_shared(Kernel& kernel, Routine routine, Object& lock, SharedRecursion recursion, std::uint64_t a) {
  if (!reach(kernel, routine, lock)) {
    return;
  }
  const ObjectNumber number = kernel.number_of(lock);
  const bool again = recursion == SharedRecursion::kForbidden && kernel.thread_state().shared.contains(number);
  if (lock.owner == kernel.scheduler().current().number || again) {
    kernel.breach(routine, Outcome::kLockRecursive, number);
    return;
  }
  while (lock.owner != 0 || (lock.count != 0 && !is_mutant(Mutant::kReaderPassesWriter))) {
    kernel.block_on(number);
  }
  ++lock.readers;
  kernel.thread_state().shared.add(number);
  ++kernel.thread_state().locks_held;
  kernel.called(routine, number, 0, a);
}

void release_exclusive(Kernel& kernel, Routine routine, Object& lock) {
  const ObjectNumber number = kernel.number_of(lock);
  if (lock.owner != kernel.scheduler().current().number) {
    kernel.breach(routine, Outcome::kLockNotOwned, number);
    return;
  }
  lock.owner = 0;
  --kernel.thread_state().locks_held;
  kernel.called(routine, number);
  kernel.wake_all(number);
}

void release_shared(Kernel& kernel, Routine routine, Object& lock) {
  const ObjectNumber number = kernel.number_of(lock);
  if (lock.readers == 0 || !kernel.thread_state().shared.remove(number)) {
    kernel.breach(routine, Outcome::kLockNotOwned, number);
    return;
  }
  --lock.readers;
  --kernel.thread_state().locks_held;
  kernel.called(routine, number);
  if (lock.readers == 0) {
    kernel.wake_all(number);
  }
}

bool try_convert_to_exclusive(Kernel& kernel, Routine routine, Object& lock) {
  if (!reach(kernel, routine, lock)) {
    return false;
  }
  const ObjectNumber number = kernel.number_of(lock);
  if (!kernel.thread_state().shared.contains(number)) {
    kernel.breach(routine, Outcome::kLockNotOwned, number);
    return false;
  }
  const bool converted = (lock.readers == 1 || is_mutant(Mutant::kConvertsAmongReaders)) && lock.count == 0;
  if (converted) {
    kernel.thread_state().shared.remove(number);
    lock.readers = 0;
    lock.owner = kernel.scheduler().current().number;
  }
  kernel.called(routine, number, converted ? 1 : 0);
  return converted;
}

}  // namespace nmrfuzz::kernel
