// driver.h - the life of one loaded module within an execution: DriverEntry, DriverUnload, the image going away.
//
// Thread safety: none; the functions run on a simulated thread. Source: the reference pages of DRIVER_INITIALIZE and
// DRIVER_UNLOAD; when the image goes: contract section 8.2, R108.
#pragma once

#include <cstdint>
#include <memory>

#include "kernel/kernel.h"

namespace nmrfuzz::module {

class Image;

class Driver {
 public:
  // `entry`: the module's DriverEntry; `number`: its module number, from 1.
  Driver(kernel::Kernel& kernel, trace::ModuleNumber number, void* entry);
  ~Driver();
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  trace::ModuleNumber number() const { return number_; }

  // A new execution: a fresh driver object.
  void reset();
  // Runs DriverEntry. Returns its status; after a failure the image goes away as it would after Unload.
  std::int32_t enter();
  // Whether the module can be unloaded: DriverEntry has set DriverUnload.
  bool can_unload() const;
  // Runs DriverUnload, waits until work items that hold the device have returned, and takes the image away.
  void unload();

  // Whether the module can be loaded again within the execution: its image is gone, and nothing of it is left that runs
  // or could run. (Where rules judge the execution, what is left ends it.)
  bool can_reload() const;
  // Loads the module again, from `image`, its own: a fresh driver object, and variables as the loader leaves them. Then
  // comes enter(). Records and handles of its earlier life stay what they are, dead, and their numbers are not used
  // again. REQUIRES: can_reload().
  void reload(Image& image);

 private:
  struct Objects;
  void take_image_away();
  void write_left_overs();
  void write_left_over(trace::ObjectNumber object, kernel::ObjectKind kind, std::uint64_t runs);
  void write_life_event(trace::EventKind kind, std::int32_t status = 0);

  kernel::Kernel& kernel_;
  trace::ModuleNumber number_;
  void* entry_;
  std::unique_ptr<Objects> objects_;
};

}  // namespace nmrfuzz::module
