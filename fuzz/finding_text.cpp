#include "fuzz/finding_text.h"

#include <fmt/core.h>

#include <algorithm>

#include "contract/rule_table.h"
#include "fuzz/scenario_text.h"
#include "fuzz/words.h"

namespace nmrfuzz::fuzz {

namespace {

constexpr std::size_t kEventsShown = 12;

std::string indented(const std::string& heading, std::span<const std::string> lines) {
  std::string text = lines.empty() ? "" : fmt::format("  {}\n", heading);
  for (const std::string& line : lines) {
    text += fmt::format("    {}\n", line);
  }
  return text;
}

}  // namespace

std::string finding_text(const Discovery& discovery) {
  const Reproducer& reproducer = discovery.reproducer;
  const Report& report = discovery.report;
  std::string text = fmt::format("{}: {}\n", contract::name_of(reproducer.kind), reproducer.title);
  const contract::RuleRow* const rule = contract::find_rule(reproducer.rule);
  if (rule != nullptr) {
    text += fmt::format("  {}: {} ({})\n", rule->id, rule->sentence, rule->source);
  } else if (const std::string_view point = contract::sentence_of_rule(reproducer.rule); !point.empty()) {
    text += fmt::format("  {}: {}\n", reproducer.rule, point);
  } else {
    text += fmt::format("  {}\n", contract::sentence_of(reproducer.kind));
  }
  text += indented("at", report.stack);
  text += indented(reproducer.kind == contract::FindingKind::kDataRace ? "and at" : "caused at", report.cause_stack);
  text += indented(reproducer.kind == contract::FindingKind::kDataRace ? "the two accesses" : "after a data race",
                   report.race);
  const std::size_t shown = std::min(kEventsShown, report.events.size());
  text += indented("last events", std::span(report.events).last(shown));
  text += indented("scenario", oddities_of(reproducer.scenario));
  text += fmt::format("  seed {}, schedule {} ({}), world {}, trace hash {}\n", reproducer.seed, reproducer.schedule,
                      reproducer.strategy,
                      report.world.empty() ? nmr::text_of(reproducer.scenario.scenario.world) : report.world,
                      hash_text(reproducer.trace_hash));
  return text + fmt::format("  reproducer: {}\n", discovery.file);
}

std::string notes_text(std::span<const Note> notes) {
  std::string text = notes.empty() ? "" : "notes (soft rules and silent points of the documentation; no findings):\n";
  for (const Note& note : notes) {
    const Report& report = note.report;
    text += fmt::format("  {}: {}\n    {}{}\n", report.rule, contract::sentence_of_rule(report.rule), report.title,
                        report.stack.empty() ? "" : fmt::format(" at {}", report.stack.front()));
  }
  return text;
}

}  // namespace nmrfuzz::fuzz
