// json_output.h - the JSON documents that commands write. Their shapes are promises to users' scripts.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "fuzz/corpus.h"
#include "fuzz/hunt.h"

namespace nmrfuzz::fuzz {

// {"modules":[{"name","provides","consumes","expected":[KIND...]}]}
std::string list_json(std::span<const CorpusModule> corpus);

// {"rules":[{"id","sentence","source","kind","defects":[NAME...],"unobservable":REASON or null}]}
std::string rules_json(std::span<const CorpusModule> corpus);

// {"worlds":[{"name","point","question","default","variants":[{"name","drawn","meaning"}]}]}
std::string worlds_json();

// What `hunt --json`, `faults --json` and `replay --json` say. Of a sweep of failures also
// "sites":[{"routine","place","failures","findings","pair_findings"}], of a hunt near a reproducer
// "wanted":{"signature","came"}.
struct RunDocument {
  std::vector<std::string> modules;
  std::string strategy;
  std::uint64_t seed = 0;
  std::string world;
  std::uint64_t schedules = 0;
  std::uint64_t decisions = 0;
  double seconds = 0;
  std::vector<Discovery> findings;
  std::vector<Note> notes;
  std::vector<SiteReport> sites;  // of a sweep of failures
  std::string wanted;             // by `hunt --from`; else empty
  bool wanted_came = false;
  bool with_hash = false;  // replay's
  std::uint64_t trace_hash = 0;
};
std::string run_json(const RunDocument& document);

// One module, or modules together, in a nightly run.
struct NightlyRow {
  std::string name;
  bool planted = false;
  std::vector<std::string> expected;
  std::string outcome;  // "found", "missed", "clean", "finding", "skipped", "unusable", "fault", ...
  std::string detail;
  RunDocument run;
};
// {"version","seed","seconds","status","rows":[{"name","planted","expected","outcome","detail","run":{...}}]}
std::string nightly_json(std::span<const NightlyRow> rows, std::uint64_t seed, double seconds, int status);

}  // namespace nmrfuzz::fuzz
