#include "fuzz/site_text.h"

#include <fmt/core.h>

#include <algorithm>

namespace nmrfuzz::fuzz {

namespace {

std::string number_or_none(std::uint64_t number) { return number == 0 ? "none" : std::to_string(number); }

}  // namespace

std::string sites_text(std::span<const SiteReport> sites) {
  if (sites.empty()) {
    return "";
  }
  std::size_t routine = 0;
  std::size_t place = 0;
  std::size_t survived = 0;
  for (const SiteReport& site : sites) {
    routine = std::max(routine, site.routine.size());
    place = std::max(place, site.place.size());
    survived += site.findings == 0 ? 1 : 0;
  }
  std::string text = fmt::format("\n{:{}}  {:{}}  failed  findings  in pairs\n", "call", routine, "from", place);
  for (const SiteReport& site : sites) {
    text += fmt::format("{:{}}  {:{}}  {:6}  {:8}  {}\n", site.routine, routine, site.place, place, site.failures,
                        number_or_none(site.findings), number_or_none(site.pair_findings));
  }
  return text +
         fmt::format("{} call site{} failed, {} survived\n", sites.size(), sites.size() == 1 ? "" : "s", survived);
}

}  // namespace nmrfuzz::fuzz
