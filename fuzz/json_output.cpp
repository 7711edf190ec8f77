#include "fuzz/json_output.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "contract/rule_table.h"
#include "fuzz/words.h"
#include "nmr/world.h"

namespace nmrfuzz::fuzz {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;

// Names of files need not be UTF-8.
std::string document(const Json& json) { return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n"; }

Json finding_json(const Discovery& discovery) {
  const Reproducer& reproducer = discovery.reproducer;
  return {{"kind", contract::name_of(reproducer.kind)},
          {"rule", reproducer.rule},
          {"title", reproducer.title},
          {"signature", reproducer.signature},
          {"schedules_to_find", discovery.schedules_to_find},
          {"reproducer", discovery.file},
          {"trace_hash", hash_text(reproducer.trace_hash)}};
}

// As a finding, without a file that replays it.
Json note_json(const Note& note) {
  return {{"kind", note.report.kind},
          {"rule", note.report.rule},
          {"title", note.report.title},
          {"signature", note.report.signature},
          {"schedules_to_find", note.schedules_to_find},
          {"reproducer", nullptr},
          {"trace_hash", hash_text(note.hash)}};
}

Json run_object(const RunDocument& run) {
  Json json = {{"version", kVersion},        {"modules", run.modules}, {"strategy", run.strategy},
               {"seed", run.seed},           {"world", run.world},     {"schedules", run.schedules},
               {"decisions", run.decisions}, {"seconds", run.seconds}, {"complete", false}};
  if (run.with_hash) {
    json["trace_hash"] = hash_text(run.trace_hash);
  }
  if (!run.wanted.empty()) {
    json["wanted"] = {{"signature", run.wanted}, {"came", run.wanted_came}};
  }
  json["findings"] = Json::array();
  for (const Discovery& discovery : run.findings) {
    json["findings"].push_back(finding_json(discovery));
  }
  json["notes"] = Json::array();
  for (const Note& note : run.notes) {
    json["notes"].push_back(note_json(note));
  }
  for (const SiteReport& site : run.sites) {
    json["sites"].push_back({{"routine", site.routine},
                             {"place", site.place},
                             {"failures", site.failures},
                             {"findings", site.findings},
                             {"pair_findings", site.pair_findings}});
  }
  return json;
}

}  // namespace

std::string list_json(std::span<const CorpusModule> corpus) {
  Json modules = Json::array();
  for (const CorpusModule& module : corpus) {
    Json expected = Json::array();
    for (const contract::FindingKind kind : module.expected) {
      expected.push_back(contract::name_of(kind));
    }
    modules.push_back(
        {{"name", module.name}, {"provides", module.provides}, {"consumes", module.consumes}, {"expected", expected}});
  }
  return document({{"modules", modules}});
}

std::string rules_json(std::span<const CorpusModule> corpus) {
  Json rules = Json::array();
  for (const contract::RuleRow& row : contract::rules()) {
    Json defects = Json::array();
    for (const CorpusModule& module : corpus) {
      if (std::find(module.rules.begin(), module.rules.end(), row.id) != module.rules.end()) {
        defects.push_back(module.name);
      }
    }
    rules.push_back({{"id", row.id},
                     {"sentence", row.sentence},
                     {"source", row.source},
                     {"kind", contract::name_of(row.kind)},
                     {"defects", defects},
                     {"unobservable", row.unobservable.empty() ? Json() : Json(row.unobservable)}});
  }
  return document({{"rules", rules}});
}

std::string worlds_json() {
  Json worlds = Json::array();
  for (const nmr::Switch& each : nmr::switches()) {
    Json variants = Json::array();
    for (const nmr::Variant& variant : each.variants) {
      variants.push_back({{"name", variant.name}, {"drawn", variant.drawn}, {"meaning", variant.meaning}});
    }
    worlds.push_back({{"name", each.name},
                      {"point", each.point},
                      {"question", each.question},
                      {"default", each.variants.front().name},
                      {"variants", variants}});
  }
  return document({{"worlds", worlds}});
}

std::string run_json(const RunDocument& run) { return document(run_object(run)); }

std::string nightly_json(std::span<const NightlyRow> rows, std::uint64_t seed, double seconds, int status) {
  Json list = Json::array();
  for (const NightlyRow& row : rows) {
    list.push_back({{"name", row.name},
                    {"planted", row.planted},
                    {"expected", row.expected},
                    {"outcome", row.outcome},
                    {"detail", row.detail},
                    {"run", run_object(row.run)}});
  }
  return document({{"version", kVersion}, {"seed", seed}, {"seconds", seconds}, {"status", status}, {"rows", list}});
}

}  // namespace nmrfuzz::fuzz
