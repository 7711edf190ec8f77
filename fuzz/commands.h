// commands.h - the commands of the nmrfuzz program, each with what its command line says. Each returns an ExitStatus.
//
// `json`, everywhere: empty for none, "-" for standard output, to which nothing else is then written, else a file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fuzz/hunt.h"
#include "fuzz/reproducer.h"
#include "module/variant.h"

namespace nmrfuzz::fuzz {

struct ListOptions {
  std::string json;
};
int run_list(const ListOptions& options);

struct RulesOptions {
  bool worlds = false;  // the switches of --world instead of the rules
  std::string json;
};
int run_rules(const RulesOptions& options);

struct HuntOptions {
  std::vector<ModuleReference> modules;
  std::vector<std::string> compiler_options;  // of all of them; those in `modules` have them too
  std::string folder;                         // where sources are looked for that are not found otherwise
  HuntPlan plan;
  std::string from;  // a reproducer to hunt near (hunt_from.h); empty: none
  // What the command line says itself, so that the reproducer's word does not count.
  struct {
    bool build = false;
    bool world = false;
    bool faults = false;
  } given;
  std::string json;
};
int run_hunt(HuntOptions options);
// A hunt that is a sweep of failures and nothing else.
int run_faults(HuntOptions options);

struct ReplayOptions {
  std::string file;
  std::vector<module::Variant> builds;  // empty: the one in which it was found
  std::vector<std::string> modules;     // in place of those that the file names; empty: those
  std::uint64_t times = 1;
  bool trace = false;
  std::string json;
};
int run_replay(const ReplayOptions& options);

struct NightlyOptions {
  std::vector<std::string> modules;  // empty: the whole corpus; "a,b": both together
  double seconds = 60;
  std::uint64_t seed = 1;
  unsigned jobs = 1;
  std::string out = "nmrfuzz-out/nightly";
  std::string json;
};
int run_nightly(const NightlyOptions& options);

}  // namespace nmrfuzz::fuzz
