// `nmrfuzz nightly`: the unattended run. First the planted defects of the corpus, as canaries: each has to be found
// within a fixed number of schedules. Then the other modules share the time.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "fuzz/commands.h"
#include "fuzz/corpus.h"
#include "fuzz/exit_status.h"
#include "fuzz/finding_text.h"
#include "fuzz/hunt_result.h"
#include "fuzz/interrupt.h"
#include "fuzz/json_output.h"
#include "fuzz/output.h"
#include "fuzz/words.h"
#include "module/files.h"

namespace nmrfuzz::fuzz {

namespace {

constexpr std::uint64_t kCanarySchedules = 10'000;
constexpr std::uint64_t kCanarySeed = 1;
constexpr double kLeastSeconds = 0.2;  // less than that for a module is not worth its start

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// One line of the plan: a module, or several together.
struct Item {
  std::string name;
  std::vector<ModuleReference> references;
  std::vector<std::string> expected;  // of a planted defect
};

class Nightly {
 public:
  Nightly(const NightlyOptions& options, std::vector<Item> items) : options_(options), items_(std::move(items)) {}

  int run() {
    std::vector<const Item*> others;
    for (const Item& item : items_) {
      if (item.expected.empty()) {
        others.push_back(&item);
      } else {
        canary(item);
      }
    }
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < others.size(); ++i) {
      share(*others[i], (options_.seconds - seconds_since(start)) / static_cast<double>(others.size() - i));
    }
    return report();
  }

 private:
  HuntPlan plan(std::uint64_t seed) const {
    HuntPlan plan;
    plan.seed = seed;
    plan.jobs = options_.jobs;
    plan.out = options_.out;
    return plan;
  }

  // The line that is being made.
  NightlyRow& begin_row(const Item& item, const char* outcome, const std::string& detail) {
    NightlyRow& row = rows_.emplace_back();
    row.name = item.name;
    row.planted = !item.expected.empty();
    row.expected = item.expected;
    row.outcome = outcome;
    row.detail = detail;
    row.run.modules = {item.name};
    return row;
  }

  // Hunts; nullopt if the row is already complete. To compile the modules is part of the time.
  std::optional<HuntResult> hunt_in(const Item& item, HuntPlan plan, NightlyRow& row) {
    const auto start = std::chrono::steady_clock::now();
    constexpr std::array kVariants = {module::Variant::kPlain};
    std::string error;
    const auto modules = resolve_modules(item.references, kVariants, "", error);
    if (!modules) {
      row.outcome = "unusable";
      row.detail = error;
      return std::nullopt;
    }
    if (plan.seconds) {
      plan.seconds = std::max(kLeastSeconds, *plan.seconds - seconds_since(start));
    }
    Progress progress(item.name);
    HuntResult result = hunt(*modules, plan, progress);
    progress.clear();
    row.run = document_of(*modules, plan, result);
    const Outcome outcome = outcome_of(result, item.name);
    if (outcome.status == kUnusable || outcome.status == kHarnessFault) {
      row.outcome = outcome.status == kUnusable ? "unusable" : "fault";
      row.detail = outcome.message;
      return std::nullopt;
    }
    return result;
  }

  void canary(const Item& item) {
    NightlyRow& row = begin_row(item, "skipped", "interrupted");
    if (interrupted()) {
      return;
    }
    HuntPlan limited = plan(kCanarySeed);
    limited.schedules = kCanarySchedules;
    const auto result = hunt_in(item, limited, row);
    if (!result) {
      return;
    }
    const std::string wanted = join(item.expected, " or ");
    if (result->discoveries.empty()) {
      row.outcome = result->interrupted ? "skipped" : "missed";
      row.detail = fmt::format("expected {} within {} schedules", wanted, kCanarySchedules);
      return;
    }
    const Discovery& found = result->discoveries.front();
    const std::string kind(contract::name_of(found.reproducer.kind));
    const bool right = std::find(item.expected.begin(), item.expected.end(), kind) != item.expected.end();
    row.outcome = right ? "found" : "wrong";
    row.detail = right ? fmt::format("{} after {} schedules", kind, found.schedules_to_find)
                       : fmt::format("{}, expected {}: {}", kind, wanted, found.reproducer.title);
  }

  void share(const Item& item, double seconds) {
    NightlyRow& row = begin_row(item, "skipped", "no time left");
    if (interrupted() || seconds < kLeastSeconds) {
      return;
    }
    HuntPlan limited = plan(options_.seed);
    limited.seconds = seconds;
    const auto result = hunt_in(item, limited, row);
    if (!result) {
      return;
    }
    row.outcome = result->discoveries.empty() ? "clean" : "finding";
    row.detail = fmt::format("{:.0f} schedules/s", static_cast<double>(result->schedules) / result->seconds);
    if (const std::string cut_short = text_of_cut_short(*result); !cut_short.empty()) {
      row.detail += "; " + cut_short;
    }
    if (!result->discoveries.empty()) {
      findings_ += "\n" + finding_text(result->discoveries.front());
      row.detail = fmt::format("{}: {}", contract::name_of(result->discoveries.front().reproducer.kind),
                               result->discoveries.front().reproducer.title);
    }
  }

  int status() const {
    const auto any = [this](std::string_view outcome) {
      return std::any_of(rows_.begin(), rows_.end(), [&](const NightlyRow& row) { return row.outcome == outcome; });
    };
    if (any("fault") || any("missed") || any("wrong")) {
      return kHarnessFault;
    }
    if (any("finding")) {
      return kFinding;
    }
    const bool exercised = any("found") || any("clean");
    return any("unusable") || !exercised ? kUnusable : kClean;
  }

  std::string table() const {
    std::size_t width = 0;
    for (const NightlyRow& row : rows_) {
      width = std::max(width, row.name.size());
    }
    std::string text;
    for (const NightlyRow& row : rows_) {
      text += fmt::format("{:{}}  {:8}  {:>9}  {:>7.1f} s  {}\n", row.name, width, row.outcome, row.run.schedules,
                          row.run.seconds, row.detail);
    }
    return text;
  }

  int report() {
    const int status = this->status();
    const std::string json = nightly_json(rows_, options_.seed, seconds_since(start_), status);
    const std::string text = fmt::format("nmrfuzz nightly: seed {}, {} modules, exit status {}\n\n{}{}", options_.seed,
                                         rows_.size(), status, table(), findings_);
    const std::string path = options_.out + "/report.txt";
    if (!module::write_file(path, text) || !module::write_file(options_.out + "/report.json", json)) {
      return refuse(fmt::format("cannot write to the folder {}: {}", options_.out, module::last_error()));
    }
    if (!write_json(options_.json, json)) {
      return kUnusable;
    }
    fmt::print(human_output(options_.json), "{}\n{}\n", text, path);
    return status;
  }

  const NightlyOptions& options_;
  std::vector<Item> items_;
  std::vector<NightlyRow> rows_;
  std::string findings_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

Item item_of(const CorpusModule& module) {
  Item item = {module.name, {{module.name, {}}}, {}};
  for (const contract::FindingKind kind : module.expected) {
    item.expected.emplace_back(contract::name_of(kind));
  }
  return item;
}

// A module that the user named; one of the corpus is what the corpus says it is.
Item item_named(const std::string& name, const std::vector<CorpusModule>& corpus) {
  for (const CorpusModule& module : corpus) {
    if (module.name == name) {
      return item_of(module);
    }
  }
  Item item = {name, {}, {}};
  for (const std::string& part : split(name, ',')) {
    item.references.push_back({part, {}});
  }
  return item;
}

}  // namespace

int run_nightly(const NightlyOptions& options) {
  std::string error;
  const auto corpus = read_corpus(corpus_folder(), error);
  if (!corpus || !make_writable_folder(options.out, error) || !can_write_json(options.json, error)) {
    return refuse(error);
  }
  std::vector<Item> items;
  if (options.modules.empty()) {
    for (const CorpusModule& module : *corpus) {
      items.push_back(item_of(module));
    }
  }
  for (const std::string& name : options.modules) {
    items.push_back(item_named(name, *corpus));
  }
  if (items.empty()) {
    return refuse("the corpus is empty: " + corpus_folder());
  }
  remember_interrupts();
  return Nightly(options, std::move(items)).run();
}

}  // namespace nmrfuzz::fuzz
