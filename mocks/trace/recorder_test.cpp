#include "trace/recorder.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace nmrfuzz::trace {
namespace {

Event numbered(EventKind kind, std::uint64_t a) {
  Event event;
  event.kind = kind;
  event.a = a;
  return event;
}

class RecorderTest : public testing::Test {
 protected:
  std::unique_ptr<EventRing> ring_{new EventRing};
  Recorder recorder_{*ring_};
};

// Writes its name and the event's number to a common log, and what the recorder looked like meanwhile.
class Logger final : public Observer {
 public:
  Logger(std::string name, Recorder& recorder, std::vector<std::string>& log)
      : name_(std::move(name)), recorder_(recorder), log_(log) {}
  void on_event(const Event& event) override {
    log_.push_back(name_ + std::to_string(event.a));
    EXPECT_EQ(recorder_.at(recorder_.size() - 1).a, event.a) << "seen before it is in the ring";
    EXPECT_EQ(recorder_.hash(), extend(before_, event)) << "seen before it is in the hash";
    before_ = recorder_.hash();
  }

 private:
  std::string name_;
  Recorder& recorder_;
  std::vector<std::string>& log_;
  TraceHash before_ = kEmptyHash;
};

TEST_F(RecorderTest, KeepsWhatIsWritten) {
  TraceHash expected = kEmptyHash;
  for (std::uint64_t i = 0; i < 100; ++i) {
    Event event = numbered(EventKind::kCall, i);
    event.object = static_cast<ObjectNumber>(2 * i);
    event.b = 3 * i;
    recorder_.write(event);
    expected = extend(expected, event);
  }
  EXPECT_EQ(recorder_.size(), 100U);
  EXPECT_EQ(recorder_.first(), 0U);
  EXPECT_EQ(recorder_.hash(), expected);
  EXPECT_EQ(recorder_.at(41).a, 41U);
  EXPECT_EQ(recorder_.at(41).object, 82U);
  EXPECT_EQ(recorder_.at(41).b, 123U);
}

TEST_F(RecorderTest, RingKeepsTheNewestAndTheHashAll) {
  constexpr std::uint64_t kWritten = EventRing::kCapacity + 10;
  TraceHash expected = kEmptyHash;
  for (std::uint64_t i = 0; i < kWritten; ++i) {
    recorder_.write(numbered(EventKind::kCall, i));
    expected = extend(expected, numbered(EventKind::kCall, i));
  }
  EXPECT_EQ(recorder_.size(), kWritten);
  EXPECT_EQ(recorder_.first(), 10U);
  EXPECT_EQ(recorder_.at(recorder_.first()).a, 10U);
  EXPECT_EQ(recorder_.at(kWritten - 1).a, kWritten - 1);
  EXPECT_EQ(recorder_.hash(), expected);
}

TEST_F(RecorderTest, ResetStartsTheSameStreamAgain) {
  recorder_.write(numbered(EventKind::kCall, 1));
  const TraceHash once = recorder_.hash();
  recorder_.reset();
  EXPECT_EQ(recorder_.size(), 0U);
  EXPECT_EQ(recorder_.hash(), kEmptyHash);
  recorder_.write(numbered(EventKind::kCall, 1));
  EXPECT_EQ(recorder_.hash(), once);
}

TEST_F(RecorderTest, ObserversSeeTheirKindsInOrderOfSubscription) {
  std::vector<std::string> log;
  Logger calls("calls", recorder_, log);
  Logger all("all", recorder_, log);
  recorder_.subscribe(calls, {EventKind::kCall});
  recorder_.subscribe_all(all);
  recorder_.write(numbered(EventKind::kCall, 1));
  EXPECT_EQ(log, (std::vector<std::string>{"calls1", "all1"}));

  recorder_.unsubscribe(calls);
  recorder_.write(numbered(EventKind::kCall, 2));
  recorder_.write(numbered(EventKind::kEnd, 3));
  EXPECT_EQ(log, (std::vector<std::string>{"calls1", "all1", "all2", "all3"}));

  recorder_.unsubscribe(all);
  recorder_.write(numbered(EventKind::kCall, 4));
  EXPECT_EQ(log.size(), 4U);
}

TEST_F(RecorderTest, ObserversDoNotChangeTheHash) {
  recorder_.write(numbered(EventKind::kCall, 1));
  const TraceHash alone = recorder_.hash();
  recorder_.reset();
  std::vector<std::string> log;
  Logger all("all", recorder_, log);
  recorder_.subscribe_all(all);
  recorder_.write(numbered(EventKind::kCall, 1));
  EXPECT_EQ(recorder_.hash(), alone);
}

}  // namespace
}  // namespace nmrfuzz::trace
