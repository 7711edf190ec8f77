#include "race/shadow.h"

namespace nmrfuzz::race {

Shadow::Shadow(std::uint16_t (*stack_of)(void* context, std::uintptr_t address), void* context)
    : stack_of_(stack_of), context_(context), records_(kCapacity) {}

Shadow::Page* Shadow::find(std::uintptr_t number) {
  std::unique_ptr<Page>& page = pages_[number];
  if (page == nullptr) {
    page = std::make_unique<Page>();
    page->stack_of = stack_of_(context_, number * 4096);
  }
  cache_[number % kCached] = {number, page.get()};
  return page.get();
}

// Numbers would come around to those of long ago.
void Shadow::start_over() {
  for (auto& [number, page] : pages_) {
    page->heads.fill(kNone);
  }
  first_ = 1;
  next_ = 1;
}

void Shadow::forget(std::uintptr_t memory, std::size_t bytes) {
  const std::uintptr_t end = memory + bytes;
  for (std::uintptr_t at = memory / kGranule * kGranule; at < end;) {
    const auto page = pages_.find(at / 4096);
    const std::uintptr_t page_end = (at / 4096 + 1) * 4096;
    if (page == pages_.end()) {
      at = page_end;
      continue;
    }
    for (; at < end && at < page_end; at += kGranule) {
      page->second->heads[at / kGranule % page->second->heads.size()] = kNone;
    }
  }
}

}  // namespace nmrfuzz::race
