#include <ntddk.h>

#include <vector>

#include "kernel/kernel_fixture.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

class EventTest : public KernelFixture {
 protected:
  // How many of three waiters a single KeSetEvent lets go on.
  int released_by_one_signal(EVENT_TYPE type) {
    int released = 0;
    const auto waiter = [&] {
      KeWaitForSingleObject(&event_, Executive, KernelMode, FALSE, nullptr);
      ++released;
    };
    const auto setter = [&] {
      scheduler.wait_until_idle();
      EXPECT_EQ(KeSetEvent(&event_, IO_NO_INCREMENT, FALSE), 0);
    };
    begin(1);
    KeInitializeEvent(&event_, type, FALSE);
    start(waiter);
    start(waiter);
    start(waiter);
    start(setter);
    finish();
    EXPECT_TRUE(breaches().empty());
    return released;
  }

  KEVENT event_{};
};

TEST_F(EventTest, ANotificationWakesAllASynchronizationOne) {
  EXPECT_EQ(released_by_one_signal(NotificationEvent), 3);
  EXPECT_EQ(released_by_one_signal(SynchronizationEvent), 1);
}

TEST_F(EventTest, StaysSetUntilItIsTakenOrCleared) {
  const auto state_after_wait = [&](EVENT_TYPE type) {
    LONG state = -1;
    run(1, [&] {
      KeInitializeEvent(&event_, type, TRUE);
      EXPECT_EQ(KeWaitForSingleObject(&event_, Executive, KernelMode, FALSE, nullptr), kStatusSuccess);
      state = KeReadStateEvent(&event_);
    });
    return state;
  };
  EXPECT_EQ(state_after_wait(NotificationEvent), 1);
  EXPECT_EQ(state_after_wait(SynchronizationEvent), 0);
  run(1, [&] {
    KeInitializeEvent(&event_, NotificationEvent, FALSE);
    EXPECT_EQ(KeReadStateEvent(&event_), 0);
    EXPECT_EQ(KeSetEvent(&event_, IO_NO_INCREMENT, FALSE), 0);
    EXPECT_EQ(KeSetEvent(&event_, IO_NO_INCREMENT, FALSE), 1);
    EXPECT_EQ(KeResetEvent(&event_), 1);
    EXPECT_EQ(KeReadStateEvent(&event_), 0);
    KeSetEvent(&event_, IO_NO_INCREMENT, FALSE);
    KeClearEvent(&event_);
    EXPECT_EQ(KeResetEvent(&event_), 0);
  });
  EXPECT_TRUE(breaches().empty());
}

TEST_F(EventTest, Breaches) {
  EXPECT_EQ(outcomes_of([&] {
              KEVENT never_initialised{};
              KeSetEvent(&never_initialised, IO_NO_INCREMENT, FALSE);
            }),
            std::vector{Outcome::kUninitializedObject});
  EXPECT_EQ(outcomes_of([] { KeSetEvent(nullptr, IO_NO_INCREMENT, FALSE); }), std::vector{Outcome::kNullArgument});
  EXPECT_EQ(outcomes_of(
                [&] {
                  KeInitializeEvent(&event_, NotificationEvent, FALSE);
                  KeSetEvent(&event_, IO_NO_INCREMENT, TRUE);
                },
                kDispatchLevel),
            std::vector{Outcome::kWaitAtRaisedIrql});
}

}  // namespace
}  // namespace nmrfuzz::kernel
