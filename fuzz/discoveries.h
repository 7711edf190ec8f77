// discoveries.h - the findings of one hunt: each signature's first, proved by a replay and written to a file.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "fuzz/hunt.h"
#include "fuzz/module_set.h"
#include "fuzz/worker_message.h"

namespace nmrfuzz::fuzz {

class Discoveries {
 public:
  // Both must outlive the object.
  Discoveries(const ModuleSet& modules, const HuntPlan& plan) : modules_(modules), plan_(plan) {}

  // Forgets it if its signature has been found by an earlier schedule. Otherwise writes its reproducer and replays it
  // in a fresh worker. Returns what is wrong with nmrfuzz, if the finding does not come again; it is kept all the same.
  std::string add(const Found& found);

  // Forgets those of schedules behind `schedule`, and removes their files.
  void forget_behind(std::uint64_t schedule);

  std::size_t size() const { return by_signature_.size(); }
  // By schedule.
  std::vector<Discovery> take();

 private:
  Reproducer reproducer_of(const Found& found) const;
  std::string file_for(const Reproducer& reproducer) const;

  const ModuleSet& modules_;
  const HuntPlan& plan_;
  std::map<std::string, Discovery> by_signature_;
};

}  // namespace nmrfuzz::fuzz
