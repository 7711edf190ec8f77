// device.cpp - device objects and symbolic links.
//
// A deleted device object leaves its driver's list and loses its name at once; its memory lives until the last
// reference and the last work item have let go. Names are compared without regard to the case of ASCII letters.
// Sources: documentation pages "IoCreateDevice", "IoDeleteDevice", "IoCreateSymbolicLink", "IoDeleteSymbolicLink",
// "NT Device Names", "DEVICE_OBJECT".
#include "kernel/device.h"

#include <ntddk.h>

#include <algorithm>
#include <cstring>

#include "kernel/kernel_memory.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

constexpr CSHORT kDeviceObjectType = 3;  // the Type field

bool is_device(ObjectKind kind) { return kind == ObjectKind::kDevice; }

WCHAR fold(WCHAR c) { return c >= L'a' && c <= L'z' ? static_cast<WCHAR>(c - L'a' + L'A') : c; }

// Whether the string and its characters may be read; a breach if not.
bool probe_name(Kernel& kernel, Routine routine, PUNICODE_STRING name) {
  return kernel.probe(routine, name, sizeof *name) &&
         (name->Length == 0 || kernel.probe(routine, name->Buffer, name->Length));
}

// The record's name, kept in kernel memory: Object::context points to it, argument1 is its number of characters.
bool keep_name(Kernel& kernel, Object& object, const UNICODE_STRING& name) {
  object.context = allocate_kernel_memory(kernel, name.Length);
  if (object.context == nullptr) {
    return false;
  }
  std::memcpy(object.context, name.Buffer, name.Length);
  object.argument1 = reinterpret_cast<void*>(static_cast<std::uintptr_t>(name.Length / sizeof(WCHAR)));
  return true;
}

bool has_name(const Object& object, const UNICODE_STRING& name) {
  const auto* const own = static_cast<const WCHAR*>(object.context);
  const auto length = reinterpret_cast<std::uintptr_t>(object.argument1);
  return own != nullptr && length == name.Length / sizeof(WCHAR) &&
         std::equal(own, own + length, name.Buffer, [](WCHAR a, WCHAR b) { return fold(a) == fold(b); });
}

// The device or symbolic link of that name; nullptr if there is none.
Object* find_name(Kernel& kernel, const UNICODE_STRING& name) {
  for (ObjectNumber number = 1; number < kernel.objects().limit(); ++number) {
    Object& object = kernel.objects().at(number);
    const bool named =
        object.kind == ObjectKind::kSymbolicLink || (is_device(object.kind) && (object.flags & kDeviceDeleted) == 0);
    if (named && has_name(object, name)) {
      return &object;
    }
  }
  return nullptr;
}

// What the name of a new object leads to.
Status check_new_name(Kernel& kernel, Routine routine, PUNICODE_STRING name) {
  if (!probe_name(kernel, routine, name)) {
    return kStatusInvalidParameter;
  }
  return find_name(kernel, *name) != nullptr ? kStatusObjectNameCollision : kStatusSuccess;
}

// Makes the object and its record; nullptr if there is no memory.
PDEVICE_OBJECT make_device(Kernel& kernel, PDRIVER_OBJECT driver, ULONG extension_size, PUNICODE_STRING name) {
  auto* const device =
      static_cast<PDEVICE_OBJECT>(allocate_kernel_memory(kernel, sizeof(DEVICE_OBJECT) + extension_size));
  if (device == nullptr) {
    return nullptr;
  }
  Object& object = kernel.add_object(ObjectKind::kDevice, device);
  if (name != nullptr && !keep_name(kernel, object, *name)) {
    free_kernel_memory(kernel, Routine::IoCreateDevice, device);
    return nullptr;
  }
  device->Type = kDeviceObjectType;
  device->Size = static_cast<USHORT>(sizeof(DEVICE_OBJECT) + extension_size);
  device->ObjectNumber = kernel.number_of(object);
  device->DriverObject = driver;
  device->DeviceExtension = extension_size != 0 ? device + 1 : nullptr;
  device->StackSize = 1;
  device->NextDevice = std::exchange(driver->DeviceObject, device);
  return device;
}

// Takes the device out of its driver's list, as far as the module has left that intact.
void unlink(Kernel& kernel, Routine routine, PDEVICE_OBJECT device) {
  if (!kernel.probe(routine, device->DriverObject, sizeof(DRIVER_OBJECT))) {
    return;
  }
  PDEVICE_OBJECT* link = &device->DriverObject->DeviceObject;
  while (*link != nullptr && *link != device) {
    if (!kernel.probe(routine, *link, sizeof(DEVICE_OBJECT))) {
      return;
    }
    link = &(*link)->NextDevice;
  }
  if (*link == device) {
    *link = device->NextDevice;
  }
}

}  // namespace

bool find_device_or_driver(Kernel& kernel, Routine routine, const void* pointer, ObjectNumber& device) {
  device = 0;
  if (was_given_back(kernel, routine, pointer, Outcome::kFreedObject) ||
      !kernel.probe(routine, pointer, sizeof(DRIVER_OBJECT))) {
    return false;
  }
  if (const Object* const object = record_at(kernel, pointer); object != nullptr) {
    if (!is_device(object->kind)) {
      kernel.breach(routine, Outcome::kWrongObject, kernel.number_of(*object));
      return false;
    }
    device = kernel.number_of(*object);
    return true;
  }
  const std::uint32_t block = Pool::contains(pointer) ? kernel.pool().block_around(pointer) : 0;
  if (block != 0 && kernel.pool().block(block).module != 0) {
    kernel.breach(routine, Outcome::kWrongObject);  // some memory of the module's own
    return false;
  }
  return true;
}

void release_device_if_unused(Kernel& kernel, Object& device) {
  if (is_device(device.kind) && (device.flags & kDeviceDeleted) != 0 && device.holders == 0 && device.count == 0) {
    free_kernel_memory(kernel, Routine::IoDeleteDevice, device.address);
  }
}

}  // namespace nmrfuzz::kernel

using namespace nmrfuzz::kernel;  // NOLINT: the C entry points below

extern "C" {

NTSTATUS IoCreateDevice(PDRIVER_OBJECT DriverObject, ULONG DeviceExtensionSize, PUNICODE_STRING DeviceName,
                        DEVICE_TYPE DeviceType, ULONG DeviceCharacteristics, BOOLEAN Exclusive,
                        PDEVICE_OBJECT* DeviceObject) {
  constexpr Routine kRoutine = Routine::IoCreateDevice;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  kernel.point(kRoutine);
  if (!kernel.probe(kRoutine, DriverObject, sizeof *DriverObject) ||
      !kernel.probe(kRoutine, DeviceObject, sizeof *DeviceObject)) {
    return kStatusInvalidParameter;
  }
  *DeviceObject = nullptr;
  Status status = DeviceName != nullptr ? check_new_name(kernel, kRoutine, DeviceName) : kStatusSuccess;
  if (succeeded(status) && kernel.fails(kRoutine)) {
    status = kStatusInsufficientResources;
  }
  PDEVICE_OBJECT device = nullptr;
  if (succeeded(status)) {
    device = make_device(kernel, DriverObject, DeviceExtensionSize, DeviceName);
    status = device != nullptr ? kStatusSuccess : kStatusInsufficientResources;
  }
  if (device == nullptr) {
    kernel.called(kRoutine, 0, status);
    return status;
  }
  device->DeviceType = DeviceType;
  device->Characteristics = DeviceCharacteristics;
  device->Flags = DO_DEVICE_INITIALIZING | (Exclusive ? DO_EXCLUSIVE : 0);
  *DeviceObject = device;
  kernel.called(kRoutine, device->ObjectNumber);
  return kStatusSuccess;
}

VOID IoDeleteDevice(PDEVICE_OBJECT DeviceObject) {
  constexpr Routine kRoutine = Routine::IoDeleteDevice;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  if (was_given_back(kernel, kRoutine, DeviceObject, Outcome::kDeletedTwice) ||
      !kernel.probe(kRoutine, DeviceObject, sizeof *DeviceObject)) {
    return;
  }
  Object* const object = kernel.find_at_point(kRoutine, DeviceObject->ObjectNumber, DeviceObject, is_device);
  if (object == nullptr) {
    return;
  }
  const ObjectNumber number = kernel.number_of(*object);
  if ((object->flags & kDeviceDeleted) != 0) {
    kernel.breach(kRoutine, Outcome::kDeletedTwice, number);
    return;
  }
  unlink(kernel, kRoutine, DeviceObject);
  object->flags |= kDeviceDeleted;
  kernel.called(kRoutine, number);
  release_device_if_unused(kernel, *object);
}

NTSTATUS IoCreateSymbolicLink(PUNICODE_STRING SymbolicLinkName, PUNICODE_STRING DeviceName) {
  constexpr Routine kRoutine = Routine::IoCreateSymbolicLink;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  kernel.point(kRoutine);
  if (!probe_name(kernel, kRoutine, DeviceName)) {
    return kStatusInvalidParameter;
  }
  Status status = check_new_name(kernel, kRoutine, SymbolicLinkName);
  if (succeeded(status) && kernel.fails(kRoutine)) {
    status = kStatusInsufficientResources;
  }
  ObjectNumber number = 0;
  if (succeeded(status)) {
    Object& object = kernel.add_object(ObjectKind::kSymbolicLink, nullptr);
    if (keep_name(kernel, object, *SymbolicLinkName)) {
      number = kernel.number_of(object);
    } else {
      object.kind = ObjectKind::kNone;
      status = kStatusInsufficientResources;
    }
  }
  kernel.called(kRoutine, number, status);
  return status;
}

NTSTATUS IoDeleteSymbolicLink(PUNICODE_STRING SymbolicLinkName) {
  constexpr Routine kRoutine = Routine::IoDeleteSymbolicLink;
  Kernel& kernel = current_kernel();
  kernel.check_irql(kRoutine);
  kernel.point(kRoutine);
  if (!probe_name(kernel, kRoutine, SymbolicLinkName)) {
    return kStatusInvalidParameter;
  }
  Object* const object = find_name(kernel, *SymbolicLinkName);
  if (object == nullptr || object->kind != ObjectKind::kSymbolicLink) {
    kernel.called(kRoutine, 0, kStatusObjectNameNotFound);
    return kStatusObjectNameNotFound;
  }
  object->kind = ObjectKind::kNone;
  kernel.called(kRoutine, kernel.number_of(*object));
  return kStatusSuccess;
}

}  // extern "C"
