#include "module/driver.h"

#include <ntddk.h>

#include "kernel/left_over.h"
#include "kernel/pool_audit.h"
#include "kernel/status.h"
#include "module/image.h"

namespace nmrfuzz::module {

using kernel::Routine;
using trace::EventKind;

namespace {

// \Registry\Machine\System\CurrentControlSet\Services\module, as the I/O manager would pass it.
constexpr WCHAR kRegistryPath[] = L"\\Registry\\Machine\\System\\CurrentControlSet\\Services\\module";

}  // namespace

struct Driver::Objects {
  DRIVER_OBJECT driver{};
  DRIVER_EXTENSION extension{};
  WCHAR path[sizeof kRegistryPath / sizeof kRegistryPath[0]]{};
  UNICODE_STRING registry_path{};
};

Driver::Driver(kernel::Kernel& kernel, trace::ModuleNumber number, void* entry)
    : kernel_(kernel), number_(number), entry_(entry), objects_(std::make_unique<Objects>()) {}

Driver::~Driver() = default;

void Driver::reset() {
  static constexpr Objects kFresh;
  *objects_ = kFresh;
  std::copy(std::begin(kRegistryPath), std::end(kRegistryPath), objects_->path);
  objects_->registry_path.Buffer = objects_->path;
  objects_->registry_path.Length = sizeof kRegistryPath - sizeof(WCHAR);
  objects_->registry_path.MaximumLength = sizeof kRegistryPath;
  objects_->driver.DriverExtension = &objects_->extension;
}

void Driver::write_life_event(EventKind kind, std::int32_t status) {
  kernel_.scheduler().write(kind, 0, 0, 0, static_cast<std::uint32_t>(status), 0, number_);
}

std::int32_t Driver::enter() {
  kernel_.module(number_).loaded = true;
  write_life_event(EventKind::kDriverEntryEnter);
  const std::int32_t status = kernel_.call_into(number_, Routine::DriverEntry, [&] {
    return reinterpret_cast<DRIVER_INITIALIZE*>(entry_)(&objects_->driver, &objects_->registry_path);
  });
  write_life_event(EventKind::kDriverEntryExit, status);
  if (!kernel::succeeded(status)) {
    take_image_away();
  }
  return status;
}

bool Driver::can_unload() const { return objects_->driver.DriverUnload != nullptr; }

void Driver::unload() {
  write_life_event(EventKind::kUnloadEnter);
  kernel_.point(Routine::DriverUnload);
  kernel_.call_into(number_, Routine::DriverUnload, [&] { objects_->driver.DriverUnload(&objects_->driver); });
  write_life_event(EventKind::kUnloadExit);
  take_image_away();
}

bool Driver::can_reload() const {
  const kernel::ModuleState& state = kernel_.module(number_);
  kernel::LeftOverCursor running;
  return !state.loaded && state.inside == 0 && !kernel::next_running(kernel_, number_, running);
}

void Driver::reload(Image& image) {
  image.reset();
  if (kernel::AccessObserver* const observer = kernel_.access_observer(); observer != nullptr) {
    observer->forget(reinterpret_cast<const void*>(image.data().begin), image.data().end - image.data().begin);
  }
  reset();
  kernel_.module(number_) = {};
}

// The image is gone once the I/O work items, which hold the device object, have returned. Everything of the module
// that could still run then, or is still held, is written as a kLeftOver event, what runs first: it is the graver
// fault.
void Driver::take_image_away() {
  kernel::ModuleState& state = kernel_.module(number_);
  state.unloading = true;
  while (state.image_holders != 0) {
    state.unload_waiter = kernel_.scheduler().current().number;
    kernel_.scheduler().block(0);
  }
  write_left_overs();
  for (std::uint32_t block = 0; (block = next_corrupt(kernel_.pool(), block)) != 0;) {
    const bool live = kernel_.pool().block(block).live;
    kernel_.breach(Routine::DriverUnload, live ? trace::Outcome::kOverflow : trace::Outcome::kWrittenAfterFree, block);
  }
  state.loaded = false;
  write_life_event(EventKind::kImageGone);
}

void Driver::write_left_overs() {
  constexpr std::uint64_t kRuns = 1;
  kernel::LeftOverCursor running;
  while (const kernel::LeftOver left = kernel::next_running(kernel_, number_, running)) {
    write_left_over(left.object, left.kind, kRuns);
  }
  // Whoever is still inside: a thread of the registrar or of a peer that called back and has not returned.
  if (kernel_.module(number_).inside != 0) {
    write_left_over(0, kernel::ObjectKind::kThread, kRuns);
  }
  kernel::LeftOverCursor held;
  while (const kernel::LeftOver left = kernel::next_left_over(kernel_, number_, held)) {
    write_left_over(left.object, left.kind, 0);
  }
}

void Driver::write_left_over(trace::ObjectNumber object, kernel::ObjectKind kind, std::uint64_t runs) {
  kernel_.scheduler().write(EventKind::kLeftOver, object, static_cast<std::uint64_t>(kind), runs, 0, 0, number_);
}

}  // namespace nmrfuzz::module
