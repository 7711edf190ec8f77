#include "fuzz/discoveries.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "fuzz/replayer.h"
#include "fuzz/words.h"
#include "module/files.h"

namespace nmrfuzz::fuzz {

Reproducer Discoveries::reproducer_of(const Found& found) const {
  Reproducer reproducer;
  for (const ModuleUnderTest& module : modules_.modules) {
    reproducer.modules.push_back(module.reference);
  }
  reproducer.source_hash = modules_.source_hash;
  reproducer.kind = contract::kind_of_name(found.report.kind).value_or(contract::FindingKind::kHarnessFault);
  reproducer.rule = found.report.rule;
  reproducer.title = found.report.title;
  reproducer.signature = found.report.signature;
  reproducer.trace_hash = found.hash;
  reproducer.events = found.events;
  reproducer.step_limit = plan_.conditions.step_limit;
  reproducer.strict = plan_.conditions.strict;
  reproducer.access_points = plan_.conditions.access_points;
  reproducer.strategy = found.strategy;
  reproducer.seed = plan_.seed;
  reproducer.schedule = found.schedule;
  reproducer.build = plan_.build;
  take_log(found.decisions, reproducer);
  return reproducer;
}

// "DIR/detach-neither-deadlock-1a2b3c4d.txt"
std::string Discoveries::file_for(const Reproducer& reproducer) const {
  constexpr std::size_t kLongest = 100;
  std::string name = modules_.short_name().substr(0, kLongest);
  std::replace(name.begin(), name.end(), '/', '_');
  return fmt::format("{}/{}-{}-{}.txt", plan_.out, name, contract::name_of(reproducer.kind),
                     hash_text(reproducer.trace_hash).substr(0, 8));
}

std::string Discoveries::add(const Found& found) {
  if (found.report.kind.empty()) {
    return fmt::format("schedule {} of seed {} found something that did not come again when it was repeated",
                       found.schedule, plan_.seed);
  }
  const auto known = by_signature_.find(found.report.signature);
  if (known != by_signature_.end() && known->second.reproducer.schedule <= found.schedule) {
    return "";
  }
  Discovery discovery;
  discovery.reproducer = reproducer_of(found);
  discovery.report = found.report;
  discovery.schedules_to_find = found.schedule + 1;
  discovery.file = file_for(discovery.reproducer);
  if (known != by_signature_.end() && known->second.file != discovery.file) {
    unlink(known->second.file.c_str());
  }
  std::string fault;
  if (!module::write_file(discovery.file, print(discovery.reproducer))) {
    fault = fmt::format("cannot write {}: {}", discovery.file, module::last_error());
  } else {
    const ReplayResult again = replay(modules_, discovery.reproducer, plan_.build, 1);
    if (again.reproduced != 1) {
      fault = fmt::format("the finding in {} is not reproducible: {}", discovery.file,
                          again.fault.empty() ? again.worst.text : again.fault);
    }
  }
  by_signature_[found.report.signature] = std::move(discovery);
  return fault;
}

void Discoveries::forget_behind(std::uint64_t schedule) {
  std::erase_if(by_signature_, [schedule](const auto& each) {
    const Discovery& discovery = each.second;
    const bool behind = discovery.reproducer.schedule > schedule;
    if (behind) {
      unlink(discovery.file.c_str());
    }
    return behind;
  });
}

std::vector<Discovery> Discoveries::take() {
  std::vector<Discovery> all;
  all.reserve(by_signature_.size());
  for (auto& [signature, discovery] : by_signature_) {
    all.push_back(std::move(discovery));
  }
  by_signature_.clear();
  std::sort(all.begin(), all.end(), [](const Discovery& left, const Discovery& right) {
    return left.schedules_to_find < right.schedules_to_find;
  });
  return all;
}

}  // namespace nmrfuzz::fuzz
