// stable_table.h - a growing table whose elements never move and whose memory is kept from one execution to the next.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace nmrfuzz::nmr {

template <class Element>
class StableTable {
 public:
  std::size_t size() const { return size_; }
  Element& operator[](std::size_t index) { return chunks_[index / kChunk][index % kChunk]; }
  const Element& operator[](std::size_t index) const { return chunks_[index / kChunk][index % kChunk]; }
  // Appends a default element.
  Element& add() {
    Element& element = add_used();
    element = Element{};
    return element;
  }
  // Appends an element that may hold what it held in an earlier execution.
  Element& add_used() {
    if (size_ == chunks_.size() * kChunk) {
      chunks_.push_back(std::make_unique<Element[]>(kChunk));
    }
    return (*this)[size_++];
  }
  void clear() { size_ = 0; }

 private:
  static constexpr std::size_t kChunk = 256;
  std::vector<std::unique_ptr<Element[]>> chunks_;
  std::size_t size_ = 0;
};

}  // namespace nmrfuzz::nmr
