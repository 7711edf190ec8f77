#include "fuzz/failure_statistics.h"

#include <fmt/core.h>

#include "kernel/routine.h"
#include "module/symbolizer.h"

namespace nmrfuzz::fuzz {

namespace {

// "function file:line" of the code that makes the call.
std::string place_of(const FailureSite& site, std::span<const std::unique_ptr<module::Image>> images) {
  module::Symbolizer symbolizer;
  if (site.address != 0) {
    const auto frames = symbolizer.describe_call(*images[site.image], site.address);
    if (!frames.empty()) {
      const module::SourceFrame& frame = frames.front();
      return fmt::format("{} {}:{}", frame.function.empty() ? "?" : frame.function, frame.file, frame.line);
    }
  }
  return "?";
}

}  // namespace

void FailureStatistics::count(std::span<const FailureSite> sites, bool found) {
  for (const FailureSite& site : sites) {
    Count& count = counts_[site];
    ++count.failures;
    (sites.size() == 1 ? count.findings : count.pair_findings) += found ? 1 : 0;
  }
}

std::vector<SiteReport> FailureStatistics::take(std::span<const std::unique_ptr<module::Image>> images) {
  std::vector<SiteReport> reports;
  for (const auto& [site, count] : counts_) {
    std::string& place = places_[site];
    if (place.empty()) {
      place = place_of(site, images);
    }
    reports.push_back(
        {std::string(kernel::row_of(site.routine).name), place, count.failures, count.findings, count.pair_findings});
  }
  counts_.clear();
  return reports;
}

}  // namespace nmrfuzz::fuzz
