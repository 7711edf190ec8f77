// switch_floor.h - the lower bound of an execution: as many bare fcontext switches as it has scheduling points.
//
// No scheduler, no decisions, no events: the caller and fibers in a ring, each switching to the next.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace nmrfuzz::stress {

class SwitchFloor {
 public:
  // A ring of `members` >= 2 stacks, the caller's among them.
  explicit SwitchFloor(std::size_t members) : ring_(members) {
    for (std::size_t i = 0; i < members; ++i) {
      ring_[i].next = &ring_[(i + 1) % members];
      if (i != 0) {
        ring_[i].stack = std::make_unique<char[]>(kStackBytes);
        ring_[i].context =
            boost::context::detail::make_fcontext(ring_[i].stack.get() + kStackBytes, kStackBytes, &forward_for_ever);
      }
    }
  }

  // Switches `switches` times; what does not fill a whole lap of the ring is done by a later call.
  void run(std::uint64_t switches) {
    owed_ += switches;
    for (; owed_ >= ring_.size(); owed_ -= ring_.size()) {
      forward(ring_.front());
    }
  }

 private:
  static constexpr std::size_t kStackBytes = 64 * 1024;
  struct Member {
    boost::context::detail::fcontext_t context = nullptr;
    Member* next = nullptr;
    std::unique_ptr<char[]> stack;
  };

  [[gnu::always_inline]] static void forward(Member& self) {
    const auto from = boost::context::detail::jump_fcontext(self.next->context, &self);
    static_cast<Member*>(from.data)->context = from.fctx;
  }
  static void forward_for_ever(boost::context::detail::transfer_t from) {
    auto& before = *static_cast<Member*>(from.data);
    before.context = from.fctx;
    for (Member& self = *before.next;;) {
      forward(self);
    }
  }

  std::vector<Member> ring_;
  std::uint64_t owed_ = 0;
};

}  // namespace nmrfuzz::stress
