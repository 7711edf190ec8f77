#include <ntddk.h>

#include <cstring>
#include <set>

#include "kernel/kernel_fixture.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

UNICODE_STRING name_of_device(const WCHAR* text) {
  UNICODE_STRING name;
  RtlInitUnicodeString(&name, text);
  return name;
}

class DeviceTest : public KernelFixture {
 protected:
  DRIVER_OBJECT driver_{};
  UNICODE_STRING name_{};

  void initialise() {
    driver_ = {};
    name_ = name_of_device(L"\\Device\\Sample");
  }
  NTSTATUS create(PUNICODE_STRING name, PDEVICE_OBJECT* device, ULONG extension = 0) {
    return IoCreateDevice(&driver_, extension, name, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, device);
  }
};

TEST_F(DeviceTest, HasAZeroedExtensionAndIsInTheDriversList) {
  run(1, [&] {
    initialise();
    PDEVICE_OBJECT first = nullptr;
    PDEVICE_OBJECT second = nullptr;
    ASSERT_EQ(create(&name_, &first, 40), kStatusSuccess);
    ASSERT_EQ(create(nullptr, &second), kStatusSuccess);
    for (int i = 0; i < 40; ++i) {
      EXPECT_EQ(static_cast<char*>(first->DeviceExtension)[i], 0);
    }
    EXPECT_EQ(second->DeviceExtension, nullptr);
    EXPECT_EQ(first->DeviceType, static_cast<DEVICE_TYPE>(FILE_DEVICE_NETWORK));
    EXPECT_EQ(driver_.DeviceObject, second);
    EXPECT_EQ(second->NextDevice, first);
    IoDeleteDevice(first);
    EXPECT_EQ(driver_.DeviceObject, second);
    EXPECT_EQ(second->NextDevice, nullptr);
    IoDeleteDevice(second);
    EXPECT_EQ(driver_.DeviceObject, nullptr);
    EXPECT_NE(kernel.pool().check(first, 1), Outcome::kOk);
  });
  EXPECT_TRUE(breaches().empty());
}

TEST_F(DeviceTest, NamesAreUniqueWithoutRegardToCase) {
  run(1, [&] {
    initialise();
    PDEVICE_OBJECT device = nullptr;
    PDEVICE_OBJECT other = reinterpret_cast<PDEVICE_OBJECT>(this);
    UNICODE_STRING same = name_of_device(L"\\DEVICE\\sample");
    EXPECT_EQ(create(&name_, &device), kStatusSuccess);
    EXPECT_EQ(create(&same, &other), kStatusObjectNameCollision);
    EXPECT_EQ(other, nullptr);
    IoDeleteDevice(device);
    EXPECT_EQ(create(&same, &other), kStatusSuccess);
    IoDeleteDevice(other);
  });
  EXPECT_TRUE(breaches().empty());
}

TEST_F(DeviceTest, DeletingTwiceIsABreach) {
  run(1, [&] {
    initialise();
    PDEVICE_OBJECT device = nullptr;
    create(nullptr, &device);
    IoDeleteDevice(device);
    IoDeleteDevice(device);
    // Held by a reference: deleted, but not gone.
    create(nullptr, &device);
    ObReferenceObject(device);
    IoDeleteDevice(device);
    EXPECT_EQ(kernel.pool().check(device, 1), Outcome::kOk);
    IoDeleteDevice(device);
    ObDereferenceObject(device);
    EXPECT_NE(kernel.pool().check(device, 1), Outcome::kOk);
  });
  EXPECT_EQ(outcomes(), (std::vector<Outcome>{Outcome::kDeletedTwice, Outcome::kDeletedTwice}));
}

TEST_F(DeviceTest, ObjectsInTheExtensionEndWithTheDevice) {
  run(1, [&] {
    initialise();
    PDEVICE_OBJECT device = nullptr;
    create(nullptr, &device, sizeof(KTIMER));
    auto* const timer = static_cast<PKTIMER>(device->DeviceExtension);
    KeInitializeTimer(timer);
    LARGE_INTEGER due;
    due.QuadPart = -1;
    KeRaiseIrqlToDpcLevel();
    KeSetTimerEx(timer, due, 1, nullptr);
    KeLowerIrql(PASSIVE_LEVEL);
    IoDeleteDevice(device);
  });
  EXPECT_EQ(outcomes(), std::vector<Outcome>{Outcome::kFreedWhileQueued});
}

TEST_F(DeviceTest, SymbolicLinksGoByName) {
  run(1, [&] {
    initialise();
    UNICODE_STRING link = name_of_device(L"\\DosDevices\\Sample");
    EXPECT_EQ(IoDeleteSymbolicLink(&link), kStatusObjectNameNotFound);
    EXPECT_EQ(IoCreateSymbolicLink(&link, &name_), kStatusSuccess);
    EXPECT_EQ(IoCreateSymbolicLink(&link, &name_), kStatusObjectNameCollision);
    EXPECT_EQ(IoDeleteSymbolicLink(&link), kStatusSuccess);
    EXPECT_EQ(IoDeleteSymbolicLink(&link), kStatusObjectNameNotFound);
  });
  EXPECT_TRUE(breaches().empty());
}

TEST_F(DeviceTest, CreationFailsWhenFaultsAreOn) {
  options.faults = true;
  std::set<NTSTATUS> devices;
  std::set<NTSTATUS> links;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    run(seed, [&] {
      initialise();
      PDEVICE_OBJECT device = nullptr;
      devices.insert(create(&name_, &device));
      UNICODE_STRING link = name_of_device(L"\\DosDevices\\Sample");
      links.insert(IoCreateSymbolicLink(&link, &name_));
    });
  }
  const std::set<NTSTATUS> both = {kStatusSuccess, kStatusInsufficientResources};
  EXPECT_EQ(devices, both);
  EXPECT_EQ(links, both);
}

TEST_F(DeviceTest, LevelsAndPointersAreChecked) {
  run(1, [&] {
    initialise();
    PDEVICE_OBJECT device = nullptr;
    create(nullptr, nullptr);
    const KIRQL old = KeRaiseIrqlToDpcLevel();
    create(nullptr, &device);
    IoDeleteDevice(device);
    KeLowerIrql(old);
  });
  EXPECT_EQ(outcomes(), (std::vector<Outcome>{Outcome::kNullArgument, Outcome::kIrqlTooHigh, Outcome::kIrqlTooHigh}));
}

}  // namespace
}  // namespace nmrfuzz::kernel
