#include "fuzz/failure_watch.h"

#include "module/stack.h"

namespace nmrfuzz::fuzz {

FailureWatch::FailureWatch(trace::Recorder& recorder, std::span<module::Image* const> images)
    : recorder_(recorder), images_(images) {
  recorder_.subscribe(*this, {trace::EventKind::kInjectedFailure});
}

FailureWatch::~FailureWatch() { recorder_.unsubscribe(*this); }

void FailureWatch::on_event(const trace::Event& event) {
  if (count_ == kMaximum) {
    return;
  }
  FailureSite& site = sites_[count_++];
  site = {event.routine, 0, 0};
  constexpr std::size_t kFrames = 32;
  std::array<std::uintptr_t, kFrames> frames{};
  const std::size_t depth = module::capture_stack(frames.data(), frames.size());
  for (const std::uintptr_t address : std::span(frames).first(depth)) {
    for (std::uint32_t image = 0; image < images_.size(); ++image) {
      if (images_[image]->contains_code(address)) {
        site.image = image;
        site.address = address;
        return;
      }
    }
  }
}

}  // namespace nmrfuzz::fuzz
