#include "fuzz/command_line.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <limits>
#include <map>

#include "fuzz/commands.h"
#include "fuzz/exit_status.h"
#include "fuzz/output.h"
#include "fuzz/strategies.h"
#include "fuzz/words.h"

namespace nmrfuzz::fuzz {

namespace {

constexpr const char* kVersion = "nmrfuzz 0.1.0";
constexpr const char* kExitCodes =
    "exit status: 0 clean, 1 a finding in the module, 2 usage or unusable input, 3 nmrfuzz itself failed";

// An option's text is turned into its value behind CLI11's back, so that the message is ours.
using Reader = std::function<std::string(const std::string&)>;  // returns what is wrong, or nothing

CLI::Option* add_read(CLI::App& app, const std::string& name, const std::string& description, Reader read) {
  return app.add_option_function<std::string>(
      name,
      [name, read = std::move(read)](const std::string& text) {
        const std::string wrong = read(text);
        if (!wrong.empty()) {
          throw CLI::ValidationError(name, wrong);
        }
      },
      description);
}

CLI::Option* add_duration(CLI::App& app, const std::string& description, std::function<void(double)> set) {
  return add_read(app, "--time", description, [set = std::move(set)](const std::string& text) -> std::string {
    const auto seconds = parse_duration(text);
    if (!seconds) {
      return fmt::format("expected a time as 60s, 5m or 2h, got '{}'", text);
    }
    set(*seconds);
    return "";
  });
}

CLI::Option* add_number(CLI::App& app, const std::string& name, const std::string& description, std::uint64_t least,
                        std::uint64_t most, std::function<void(std::uint64_t)> set) {
  return add_read(app, name, description, [=, set = std::move(set)](const std::string& text) -> std::string {
    const auto number = parse_number(text);
    if (!number || *number < least || *number > most) {
      return fmt::format("expected a number from {} to {}, got '{}'", least, most, text);
    }
    set(*number);
    return "";
  });
}

CLI::Option* add_jobs(CLI::App& app, unsigned& jobs) {
  constexpr std::uint64_t kMost = 256;
  return add_number(app, "--jobs", "worker processes (1)", 1, kMost,
                    [&jobs](std::uint64_t number) { jobs = static_cast<unsigned>(number); });
}

CLI::Option* add_seed(CLI::App& app, std::uint64_t& seed) {
  return add_number(app, "--seed", "seed of all decisions (1)", 0, std::numeric_limits<std::uint64_t>::max(),
                    [&seed](std::uint64_t number) { seed = number; });
}

// --json [FILE]
void add_optional_json(CLI::App& app, std::string& json) {
  app.add_option_function<std::vector<std::string>>(
         "--json",
         [&json](const std::vector<std::string>& given) {
           json = given.empty() || given.front().empty() ? "-" : given.front();
         },
         "the result as JSON, to standard output or to FILE")
      ->expected(0, 1)
      ->type_name("[FILE]");
}

void add_json(CLI::App& app, std::string& json) {
  app.add_option("--json", json, "the result as JSON to this file; - for standard output")->type_name("FILE");
}

// What is wrong with the text of --build.
std::string read_builds(const std::string& text, std::vector<module::Variant>& builds) {
  builds.clear();
  if (text == "all") {
    builds = {module::Variant::kPlain, module::Variant::kAsan};
    return "";
  }
  for (const std::string& name : split(text, ',')) {
    const auto variant = module::variant_named(name);
    if (!variant || *variant == module::Variant::kTsan) {
      static const std::vector<std::string> kNames = {"plain", "asan", "all"};
      return fmt::format("expected plain, asan or all, got '{}'{}", name, suggestion(name, kNames));
    }
    builds.push_back(*variant);
  }
  return "";
}

class CommandLine {
 public:
  CommandLine() {
    app_.require_subcommand(1);
    app_.set_version_flag("--version", kVersion);
    app_.footer(fmt::format(
        "examples:\n  nmrfuzz list\n  nmrfuzz hunt driver.c --time 5m\n  nmrfuzz replay nmrfuzz-out/FILE.txt\n\n{}",
        kExitCodes));
    add_list();
    add_rules();
    add_hunt();
    add_faults();
    add_replay();
    add_nightly();
  }

  int run(int argc, char** argv) {
    if (argc > 1 && argv[1][0] != '-' && !actions_.contains(argv[1])) {
      return refuse(fmt::format("no command '{}'{} (nmrfuzz --help)", argv[1], suggestion(argv[1], command_names())));
    }
    try {
      app_.parse(argc, argv);
    } catch (const CLI::CallForHelp& help) {
      return app_.exit(help);
    } catch (const CLI::CallForVersion& version) {
      return app_.exit(version);
    } catch (const CLI::ParseError& error) {
      return refuse(error.what() + hint());
    }
    CLI::App& chosen = *app_.get_subcommands().front();
    if (const std::vector<std::string> extras = app_.remaining(true); !extras.empty()) {
      return refuse(fmt::format("{}: unknown {} '{}'{}{}", chosen.get_name(),
                                extras.front().starts_with('-') ? "option" : "argument", extras.front(),
                                suggestion(extras.front(), option_names(chosen)), hint()));
    }
    return actions_.at(chosen.get_name())();
  }

 private:
  CLI::App& add(const std::string& name, const std::string& description, const std::string& examples,
                std::function<int()> action) {
    CLI::App& command = *app_.add_subcommand(name, description);
    command.allow_extras();  // so that the message about them is ours
    command.footer(fmt::format("examples:\n{}\n\n{}", examples, kExitCodes));
    actions_[name] = std::move(action);
    return command;
  }

  std::vector<std::string> command_names() const {
    std::vector<std::string> names;
    names.reserve(actions_.size());
    for (const auto& [name, action] : actions_) {
      names.push_back(name);
    }
    return names;
  }

  static std::vector<std::string> option_names(const CLI::App& command) {
    std::vector<std::string> names;
    for (const CLI::Option* option : command.get_options()) {
      if (!option->get_positional() && !option->get_lnames().empty()) {
        names.push_back("--" + option->get_lnames().front());
      }
    }
    return names;
  }

  std::string hint() const {
    const auto chosen = app_.get_subcommands();
    return fmt::format(" (nmrfuzz {}--help)", chosen.empty() ? "" : chosen.front()->get_name() + " ");
  }

  void add_list() {
    CLI::App& command = add("list", "The modules of the corpus: what they are, what is found in them.",
                            "  nmrfuzz list\n  nmrfuzz list --json", [this] { return run_list(list_); });
    add_optional_json(command, list_.json);
  }

  void add_rules() {
    CLI::App& command =
        add("rules", "Each rule that is checked: its sentence, its source, the kind of finding.",
            "  nmrfuzz rules\n  nmrfuzz rules --json\n  nmrfuzz rules --worlds", [this] { return run_rules(rules_); });
    command.add_flag("--worlds", rules_.worlds,
                     "instead: each SWITCH=VARIANT of hunt --world, the question that it answers, what it means");
    add_optional_json(command, rules_.json);
  }

  void add_hunt();
  void add_replay();
  void add_nightly();
  void add_faults();
  void add_modules(CLI::App& command);
  void add_exploration(CLI::App& command);
  void add_report(CLI::App& command);
  HuntOptions hunt_options();
  bool lacks_module() const;
  std::string read_world(const std::string& text);

  CLI::App app_{"Finds and replays the races of Windows network modules on their way out of NMR.", "nmrfuzz"};
  std::map<std::string, std::function<int()>> actions_;
  ListOptions list_;
  RulesOptions rules_;
  HuntOptions hunt_;
  std::vector<std::string> hunt_modules_;
  std::vector<std::string> include_folders_;
  std::vector<std::string> definitions_;
  std::string world_so_far_;
  ReplayOptions replay_;
  NightlyOptions nightly_;
};

// Each --world narrows the one before: assignments add up, names stand alone.
std::string CommandLine::read_world(const std::string& text) {
  const bool alone = text == "any" || text == "windows";
  const bool before_alone = world_so_far_ == "any" || world_so_far_ == "windows";
  if (!world_so_far_.empty() && (alone || before_alone)) {
    return fmt::format("'{}' and '{}' exclude each other", world_so_far_, text);
  }
  world_so_far_ += (world_so_far_.empty() ? "" : " ") + text;
  return set_world(hunt_.plan.conditions, world_so_far_).value_or("");
}

// What hunt and faults have in common.
void CommandLine::add_modules(CLI::App& command) {
  HuntPlan& plan = hunt_.plan;
  command.add_option("MODULE", hunt_modules_,
                     "corpus module, .c or .cpp file (several of one driver: a.c+b.c), or folder NAME.nmr;\n"
                     "several are loaded side by side");
  command.add_option("-I", include_folders_, "folder with headers of the module")
      ->allow_extra_args(false)
      ->group("build");
  command.add_option("-D", definitions_, "preprocessor definition")->allow_extra_args(false)->group("build");
  add_read(command, "--build", "what to run: plain or asan (plain)",
           [this, &plan](const std::string& text) -> std::string {
             const auto variant = module::variant_named(text);
             plan.build = variant.value_or(module::Variant::kPlain);
             hunt_.given.build = true;
             return variant && *variant != module::Variant::kTsan
                        ? ""
                        : fmt::format("expected plain or asan, got '{}'", text);
           })
      ->group("build");
}

void CommandLine::add_exploration(CLI::App& command) {
  HuntPlan& plan = hunt_.plan;
  add_read(command, "--strategy",
           "who decides: mix of random and pct, random, pct, or run-to-completion (mix);\n"
           "the last never preempts a thread: what a plain test would see",
           [&plan](const std::string& text) -> std::string {
             const std::vector<std::string> names = StrategySet::names();
             plan.strategy = text;
             return std::find(names.begin(), names.end(), text) != names.end()
                        ? ""
                        : fmt::format("expected {}, got '{}'{}", join(names, ", "), text, suggestion(text, names));
           })
      ->group("exploration");
  add_seed(command, plan.seed)->group("exploration");
  command
      .add_option_function<std::vector<std::string>>(
          "--world",
          [this](const std::vector<std::string>& given) {
            for (const std::string& text : given) {
              if (const std::string wrong = read_world(text); !wrong.empty()) {
                throw CLI::ValidationError("--world", wrong);
              }
            }
          },
          "how NMR behaves where its documentation is silent: any, windows, or SWITCH=VARIANT, repeatable (any);\n"
          "nmrfuzz rules --worlds explains them")
      ->allow_extra_args(false)
      ->group("exploration");
  add_read(command, "--peers",
           "modules at the other end: any number of them, or exactly one for each NPI, and no ladder of single\n"
           "oddities at first: any or one (any)",
           [&plan](const std::string& text) -> std::string {
             plan.conditions.one_peer = text == "one";
             return text == "any" || text == "one" ? "" : fmt::format("expected any or one, got '{}'", text);
           })
      ->group("exploration");
  command.add_flag("--strict", plan.conditions.strict, "notes are findings")->group("exploration");
}

void CommandLine::add_report(CLI::App& command) {
  HuntPlan& plan = hunt_.plan;
  plan.out = "nmrfuzz-out";
  command.add_option("--out", plan.out, "folder for reproducers (nmrfuzz-out)")->type_name("DIR")->group("report");
  command.add_option("--json", hunt_.json, "the result as JSON to this file; - for standard output")
      ->type_name("FILE")
      ->group("report");
}

void CommandLine::add_hunt() {
  HuntPlan& plan = hunt_.plan;
  CLI::App& command =
      add("hunt", "Explores the interleavings of modules until the budget ends or something is found.",
          "  nmrfuzz hunt driver.c --time 5m\n"
          "  nmrfuzz hunt detach-neither --schedules 10000 --seed 7 --json -\n"
          "  nmrfuzz hunt provider.c client.nmr --keep-going --jobs 4 --out found\n"
          "  nmrfuzz hunt --from nmrfuzz-out/FILE.txt --time 1m",
          [this] { return hunt_.from.empty() && lacks_module() ? kUnusable : run_hunt(hunt_options()); });
  add_modules(command);
  command
      .add_option("--from", hunt_.from,
                  "look near this reproducer for the same finding, after its sources or nmrfuzz have changed: the\n"
                  "hunt ends when that comes; others are reported, but do not end it. Modules, build and conditions\n"
                  "are the reproducer's; each MODULE takes the place of one of its modules, in their order")
      ->type_name("FILE");
  add_duration(command, "budget: 60s, 5m, 2h (60s, if there is no --schedules)", [&plan](double seconds) {
    plan.seconds = seconds;
  })->group("budget");
  add_number(command, "--schedules", "budget in executions", 1, std::numeric_limits<std::uint64_t>::max() / 2,
             [&plan](std::uint64_t number) { plan.schedules = number; })
      ->group("budget");
  command.add_flag("--keep-going", plan.keep_going, "do not stop at the first finding")->group("budget");
  add_jobs(command, plan.jobs)->group("budget");
  add_exploration(command);
  add_read(command, "--faults",
           "whether routines that can fail do: off, on, or sweep: each call in turn,\nthen pairs, then as on (on)",
           [this, &plan](const std::string& text) -> std::string {
             hunt_.given.faults = true;
             const auto faults = faults_named(text);
             plan.conditions.faults = faults.value_or(Faults::kOn);
             return faults ? "" : fmt::format("expected off, on or sweep, got '{}'", text);
           })
      ->group("exploration");
  add_report(command);
}

// Says so.
bool CommandLine::lacks_module() const {
  if (hunt_modules_.empty()) {
    refuse("MODULE is required" + hint());
  }
  return hunt_modules_.empty();
}

HuntOptions CommandLine::hunt_options() {
  std::vector<std::string> options;
  options.reserve(include_folders_.size() + definitions_.size());
  for (const std::string& folder : include_folders_) {
    options.push_back("-I" + folder);
  }
  for (const std::string& definition : definitions_) {
    options.push_back("-D" + definition);
  }
  for (const std::string& name : hunt_modules_) {
    hunt_.modules.push_back({name, options});
  }
  hunt_.compiler_options = std::move(options);
  hunt_.given.world = !world_so_far_.empty();
  return std::move(hunt_);
}

void CommandLine::add_faults() {
  CLI::App& command =
      add("faults",
          "Makes each call of a module that can fail do so: each alone in several schedules, then each two\n"
          "of them. Says which call sites failed, and which of them the module survived.",
          "  nmrfuzz faults driver.c\n  nmrfuzz faults flow-hub --json -",
          [this] { return lacks_module() ? kUnusable : run_faults(hunt_options()); });
  add_modules(command);
  add_jobs(command, hunt_.plan.jobs)->group("budget");
  add_exploration(command);
  add_report(command);
}

void CommandLine::add_replay() {
  CLI::App& command =
      add("replay",
          "Runs a reproducer again: exit status 1 if its finding comes again, 0 if no longer, 2 if the\n"
          "execution is another one than was recorded.",
          "  nmrfuzz replay nmrfuzz-out/FILE.txt\n  nmrfuzz replay FILE.txt --build all --times 100\n"
          "  nmrfuzz replay FILE.txt --module fixed.c",
          [this] { return run_replay(replay_); });
  command.add_option("FILE", replay_.file, "reproducer")->required();
  add_read(command, "--build", "plain, asan or all; several separated by commas (where it was found)",
           [this](const std::string& text) { return read_builds(text, replay_.builds); });
  command
      .add_option("--module", replay_.modules,
                  "run this module in place of the recorded one; repeatable, in the order recorded")
      ->allow_extra_args(false);
  constexpr std::uint64_t kMost = 1'000'000;
  add_number(command, "--times", "how often (1)", 1, kMost, [this](std::uint64_t number) { replay_.times = number; });
  command.add_flag("--trace", replay_.trace, "print each event");
  add_optional_json(command, replay_.json);
}

void CommandLine::add_nightly() {
  CLI::App& command =
      add("nightly",
          "The unattended run: the planted defects of the corpus have to be found, then the other\n"
          "modules share the time.",
          "  nmrfuzz nightly --time 8h --jobs 4\n  nmrfuzz nightly driver.c provider.c,client.c --out report",
          [this] { return run_nightly(nightly_); });
  command.add_option("MODULE", nightly_.modules, "as for hunt; a,b are loaded together (the whole corpus)");
  add_duration(command, "for all modules but the planted defects: 60s, 5m, 2h (60s)",
               [this](double seconds) { nightly_.seconds = seconds; });
  add_seed(command, nightly_.seed);
  add_jobs(command, nightly_.jobs);
  command.add_option("--out", nightly_.out, "folder for report and reproducers (nmrfuzz-out/nightly)")
      ->type_name("DIR");
  add_json(command, nightly_.json);
}

}  // namespace

int run_command_line(int argc, char** argv) { return CommandLine().run(argc, argv); }

}  // namespace nmrfuzz::fuzz
