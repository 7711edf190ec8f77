// The nmrfuzz program as its users meet it: what it says, where, and with which exit status.
#include <set>

#include "fuzz/command_fixture.h"
#include "fuzz/reproducer.h"

namespace nmrfuzz::fuzz {
namespace {

// A provider that declines with another status than the one for it, in each execution with a client.
TEST_F(Command, NotesAreListedAndChangeNothing) {
  std::string module = std::string(kPreamble) +
                       "#define LEAVE if (NmrDeregisterProvider(Registration) == STATUS_PENDING) "
                       "NmrWaitForProviderDeregisterComplete(Registration);\n" +
                       kForgetful;
  const std::string status = "return STATUS_NOINTERFACE;";
  module.replace(module.find(status), status.size(), "return STATUS_NOT_SUPPORTED;");
  write("declines.c", module);
  const Said shown = run("hunt declines.c --schedules 300 --out out");
  EXPECT_EQ(shown.status, 0) << shown.err;
  EXPECT_NE(shown.out.find("no finding in 300 schedules"), std::string::npos) << shown.out;
  EXPECT_NE(shown.out.find("  R48: "), std::string::npos) << shown.out;

  Json notes;
  for (const char* jobs : {"1", "3"}) {
    const Said said = run("hunt declines.c --schedules 300 --out out --json - --jobs " + std::string(jobs));
    ASSERT_EQ(said.status, 0) << said.err;
    const Json json = Json::parse(said.out);
    EXPECT_TRUE(json["findings"].empty());
    ASSERT_EQ(json["notes"].size(), 1U) << said.out;
    const Json& note = json["notes"][0];
    EXPECT_EQ(note["kind"], "bad-status");
    EXPECT_EQ(note["rule"], "R48");
    EXPECT_EQ(note["signature"], "bad-status:R48:ProviderAttachClient:Attach");
    EXPECT_TRUE(note["reproducer"].is_null());
    EXPECT_TRUE(notes.is_null() || notes == json["notes"]) << "another number of workers, other notes";
    notes = json["notes"];
  }

  const Said strict = run("hunt declines.c --schedules 300 --out out --strict");
  EXPECT_EQ(strict.status, 1) << strict.out;
  EXPECT_NE(strict.out.find("bad-status: "), std::string::npos) << strict.out;
  EXPECT_EQ(run("replay " + reproducer()).status, 1);
}

TEST_F(Command, UsageErrorsNameTheNearestThing) {
  const std::pair<const char*, const char*> cases[] = {
      {"hnut x.c", "no command 'hnut', did you mean 'hunt'?"},
      {"hunt x.c --seeed 3", "unknown option '--seeed', did you mean '--seed'?"},
      {"hunt x.c --strategy ptc", "expected mix, random, pct, run-to-completion, got 'ptc', did you mean 'pct'?"},
      {"hunt x.c --time 5x", "expected a time as 60s, 5m or 2h, got '5x'"},
      {"hunt x.c --schedules 0", "expected a number from 1"},
      {"hunt x.c --world anyy", "'anyy' is no world"},
      {"hunt x.c --world any --world windows", "'any' and 'windows' exclude each other"},
      {"hunt x.c --faults swep", "expected off, on or sweep, got 'swep'"},
      {"hunt x.c --peers two", "expected any or one, got 'two'"},
      {"hunt x.c --build tsan", "expected plain or asan, got 'tsan'"},
      {"hunt", "MODULE"},
      {"replay", "FILE"},
      {"list extra", "unknown argument 'extra'"},
      {"", "nmrfuzz"}};
  for (const auto& [arguments, expected] : cases) {
    const Said result = run(arguments);
    EXPECT_EQ(result.status, 2) << arguments;
    EXPECT_NE(result.err.find(expected), std::string::npos) << arguments << ": " << result.err;
  }
}

TEST_F(Command, HelpAndVersionAreClean) {
  for (const char* arguments : {"--help", "hunt --help", "replay --help", "nightly --help"}) {
    const Said result = run(arguments);
    EXPECT_EQ(result.status, 0) << arguments;
    EXPECT_NE(result.out.find("exit status: 0 clean"), std::string::npos) << arguments;
    EXPECT_NE(result.out.find("examples:"), std::string::npos) << arguments;
  }
  EXPECT_EQ(run("--version").status, 0);
}

struct Unusable {
  const char* source;  // nullptr: no such file
  std::vector<const char*> said;
};

TEST_F(Command, UnusableModulesAreSaidSo) {
  const Unusable cases[] = {
      {nullptr, {"m.c: No such file or directory"}},
      {"NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) { return nowhere; }",
       {"does not compile", "m.c:4:", "use of undeclared identifier 'nowhere'"}},
      {"int x;", {"DriverEntry"}},
      {"VOID FarAway(VOID); VOID Further(VOID);\n"
       "NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) { FarAway(); Further(); return 0; }",
       {"FarAway", "Further"}},
      {"NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) { return STATUS_SUCCESS; }",
       {"registers nothing with NMR", "NmrRegisterProvider"}}};
  for (const Unusable& each : cases) {
    if (each.source != nullptr) {
      write("m.c", std::string(kPreamble) + each.source);
    }
    const Said result = run("hunt m.c --time 20s");
    EXPECT_EQ(result.status, 2) << result.err;
    for (const char* said : each.said) {
      EXPECT_NE(result.err.find(said), std::string::npos) << said << ": " << result.err;
    }
  }
  const Said unknown = run("hunt seed-sampel");
  EXPECT_EQ(unknown.status, 2);
  EXPECT_NE(unknown.err.find("did you mean 'seed-sample'?"), std::string::npos) << unknown.err;
}

TEST_F(Command, UnwritableOutputIsSaidBeforeTheHunt) {
  write_module("m.c", true);
  write("file", "");
  for (const char* arguments : {"hunt m.c --out file", "hunt m.c --out file/sub", "hunt m.c --out /proc/sub",
                                "hunt m.c --json file/x", "hunt m.c --json .", "nightly m.c --out file"}) {
    const Said result = run(arguments);
    EXPECT_EQ(result.status, 2) << arguments;
    EXPECT_NE(result.err.find("cannot"), std::string::npos) << arguments << ": " << result.err;
    EXPECT_EQ(result.out, "") << arguments;
  }
}

TEST_F(Command, CleanHuntInJson) {
  write_module("m.c", true);
  const Said result = run("hunt m.c --schedules 50 --seed 7 --world windows --json -");
  EXPECT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json["version"], 1);
  EXPECT_EQ(json["modules"], Json::array({"m.c"}));
  EXPECT_EQ(json["strategy"], "mix");
  EXPECT_EQ(json["seed"], 7);
  EXPECT_EQ(json["world"], "windows");
  EXPECT_EQ(json["schedules"], 50);
  EXPECT_GT(json["decisions"], 0);
  EXPECT_TRUE(json["seconds"].is_number());
  EXPECT_EQ(json["complete"], false);
  EXPECT_EQ(json["findings"], Json::array());
  EXPECT_EQ(json["notes"], Json::array());
}

TEST_F(Command, FindingIsReportedAndReplays) {
  write_module("m.c", false);
  const Said result = run("hunt m.c --schedules 1000 --out out --json result.json");
  ASSERT_EQ(result.status, 1) << result.err;
  const std::string file = reproducer();
  EXPECT_NE(result.out.find("unload-registered: "), std::string::npos) << result.out;
  EXPECT_TRUE(result.out.ends_with("nmrfuzz replay out/" + fs::path(file).filename().string() + "\n")) << result.out;
  const Json json = Json::parse(module::read_file(folder_ / "result.json").value_or(""), nullptr, false);
  ASSERT_EQ(json["findings"].size(), 1U) << json;
  const Json& finding = json["findings"][0];
  EXPECT_EQ(finding["kind"], "unload-registered");
  EXPECT_EQ(finding["reproducer"], "out/" + fs::path(file).filename().string());
  EXPECT_GT(finding["schedules_to_find"], 0);
  for (const char* key : {"rule", "title", "signature", "trace_hash"}) {
    EXPECT_FALSE(finding[key].get<std::string>().empty()) << key;
  }

  const Said again = run("replay " + file + " --times 20 --json -");
  EXPECT_EQ(again.status, 1) << again.err;
  EXPECT_NE(again.err.find("plain: reproduced 20 of 20, trace hash "), std::string::npos) << again.err;
  const Json replayed = Json::parse(again.out, nullptr, false);
  EXPECT_EQ(replayed["trace_hash"], finding["trace_hash"]);
  EXPECT_EQ(replayed["findings"][0]["signature"], finding["signature"]);

  const Said trace = run("replay " + file + " --trace");
  EXPECT_NE(trace.out.find("NmrRegisterProvider"), std::string::npos) << trace.out;
}

// With them the hunt has no plain schedules at first.
TEST_F(Command, PeersOneIsExactlyOneAndReplays) {
  write_module("m.c", false);
  std::set<std::string> peers;
  for (int seed = 1; seed <= 8; ++seed) {
    fs::remove_all(folder_ / "out");
    const Said result = run("hunt m.c --peers one --strategy run-to-completion --schedules 20 --out out --seed " +
                            std::to_string(seed));
    ASSERT_EQ(result.status, 1) << result.err;
    EXPECT_NE(result.out.substr(0, result.out.find('\n')).find(", faults on, peers one, plain build"),
              std::string::npos)
        << result.out;
    const std::string text = module::read_file(reproducer()).value_or("");
    EXPECT_NE(text.find("\nfound strategy=run-to-completion "), std::string::npos) << text;
    const std::size_t first = text.find("\npeer 1");
    ASSERT_NE(first, std::string::npos) << text;
    EXPECT_EQ(text.find("\npeer ", first + 1), std::string::npos) << text;
    peers.insert(text.substr(first, text.find('\n', first + 1) - first));
    EXPECT_EQ(run("replay " + reproducer()).status, 1) << text;
  }
  EXPECT_GT(peers.size(), 1U) << "all peers are alike";
  EXPECT_EQ(run("hunt m.c --peers any --schedules 20 --out out").out.find("peers"), std::string::npos);
}

TEST_F(Command, ReplayTellsChangedSourcesAndChangedFilesApart) {
  write_module("m.c", false);
  ASSERT_EQ(run("hunt m.c --schedules 1000 --out out").status, 1);
  const std::string file = reproducer();
  write_module("fixed.c", true);
  const Said fixed = run("replay " + file + " --module fixed.c");
  EXPECT_EQ(fixed.status, 0) << fixed.out;
  EXPECT_NE(fixed.out.find("no longer"), std::string::npos) << fixed.out;

  std::string error;
  Reproducer tampered = read_reproducer(file, error).value();
  tampered.trace_hash ^= 1;
  write("tampered.txt", print(tampered));
  const Said diverged = run("replay tampered.txt");
  EXPECT_EQ(diverged.status, 2);
  EXPECT_NE(diverged.out.find("diverged"), std::string::npos) << diverged.out;

  write("truncated.txt", module::read_file(file).value().substr(0, 200));
  const Said truncated = run("replay truncated.txt");
  EXPECT_EQ(truncated.status, 2);
  EXPECT_NE(truncated.err.find("truncated.txt:"), std::string::npos) << truncated.err;

  fs::rename(folder_ / "m.c", folder_ / "out" / "m.c");
  EXPECT_EQ(run("replay " + file).status, 1) << "sources beside the reproducer are found";
}

// A module of the corpus that is a source with options goes by its name alone.
TEST_F(Command, VariantsOfTheCorpusAreHuntedAndReplayedByName) {
  fs::create_directories(folder_ / "corpus/correct");
  fs::create_directories(folder_ / "corpus/planted");
  write("corpus/planted/forgetful.c",
        "// nmrfuzz: module\n// variant: right -DWAITS=1\n// variant: wrong -DWAITS=0 -DUNUSED\n\n" +
            std::string(kPreamble) +
            "#define LEAVE if (WAITS && NmrDeregisterProvider(Registration) == STATUS_PENDING) "
            "NmrWaitForProviderDeregisterComplete(Registration);\n" +
            kForgetful);
  const auto in_corpus = [this](const std::string& arguments) {
    const auto result = module::run_process(
        {"/bin/sh", "-c", "cd " + folder_.string() + " && NMRFUZZ_CORPUS=corpus " + kProgram + " " + arguments});
    return result.status;
  };
  EXPECT_EQ(in_corpus("hunt right --schedules 50 --out out"), 0);
  EXPECT_EQ(in_corpus("hunt forgetful --schedules 50 --out out 2>&1"), 2) << "the source itself is no module";
  EXPECT_EQ(in_corpus("hunt wrong --schedules 50 --out out"), 1);
  const std::string text = module::read_file(reproducer()).value_or("");
  EXPECT_NE(text.find("\nmodule wrong\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("\noption "), std::string::npos) << text;
  EXPECT_EQ(in_corpus("replay " + reproducer()), 1);
}

TEST_F(Command, JobsDoNotChangeWhatIsFound) {
  std::vector<std::string> found;
  for (const char* jobs : {"1", "3"}) {
    const Said result = run(std::string("hunt detach-neither --schedules 10000 --json - --out out --jobs ") + jobs);
    ASSERT_EQ(result.status, 1) << result.err;
    found.push_back(Json::parse(result.out)["findings"].dump());
  }
  EXPECT_EQ(found[0], found[1]);
}

TEST_F(Command, KeepGoingFindsOnAndReportsEachSignatureOnce) {
  write_module("m.c", false);
  const Said result = run("hunt m.c --schedules 300 --keep-going --json - --out out");
  EXPECT_EQ(result.status, 1);
  const Json json = Json::parse(result.out, nullptr, false);
  EXPECT_EQ(json["schedules"], 300) << result.err;
  std::set<std::string> signatures;
  for (const Json& finding : json["findings"]) {
    EXPECT_TRUE(signatures.insert(finding["signature"]).second) << finding;
  }
}

struct Deadly {
  const char* body;  // of DriverEntry
  const char* kind;
  const char* said;
};

// What kills the worker is a finding too, and comes again.
// More threads than there is room for: not clean, and not the module's fault.
TEST_F(Command, SchedulesThatDoNotFitAreSaidToBeCutShort) {
  write("crowd.c", std::string(kPreamble) + R"(
static KEVENT Never;
static VOID Wait(PVOID c) { KeWaitForSingleObject(&Never, Executive, KernelMode, FALSE, NULL); }
static VOID Crowd(VOID) {
  HANDLE Thread;
  KeInitializeEvent(&Never, NotificationEvent, FALSE);
  while (PsCreateSystemThread(&Thread, 0, NULL, NULL, NULL, Wait, NULL) == STATUS_SUCCESS) ZwClose(Thread);
}
#define LEAVE Crowd();
)" + kForgetful);
  const Said result = run("hunt crowd.c --schedules 3 --faults off --out out");
  EXPECT_EQ(result.status, 2) << result.out;
  EXPECT_NE(result.err.find("3 of 3 schedules were cut short"), std::string::npos) << result.err;
}

TEST_F(Command, DeathsOfTheWorkerAreFindings) {
  const Deadly cases[] = {
      {"*(volatile int *)8 = 1; return 0;", "null-dereference", "DriverEntry"},
      {"RtlFillMemory((PVOID)(ULONG_PTR)(p->Length * 16 + 16), 4096, 1); return 0;", "null-dereference", "DriverEntry"},
      {"((VOID (*)(VOID))(ULONG_PTR)(p->Length * 0))(); return 0;", "null-dereference", "called in DriverEntry"},
      {"return *(volatile int *)0x123456789000;", "wild-access", "read in DriverEntry"},
      {"volatile int zero = 0; return 5 / zero;", "undefined-behavior", "division"},
      {"for (;;) { __asm__ volatile(\"\"); }", "livelock", "loop"},
      {"volatile int go = 1; while (go) { } return 0;", "livelock", "step limit"}};
  for (const Deadly& each : cases) {
    fs::remove_all(folder_ / "out");
    write("m.c",
          std::string(kPreamble) + "NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) { " + each.body + " }\n");
    const Said result = run("hunt m.c --time 20s --out out --json -");
    EXPECT_EQ(result.status, 1) << each.body << result.err;
    const Json json = Json::parse(result.out, nullptr, false);
    ASSERT_TRUE(json.is_object()) << each.body << result.err;
    EXPECT_EQ(json["findings"][0]["kind"], each.kind) << each.body;
    EXPECT_NE(json["findings"][0]["title"].get<std::string>().find(each.said), std::string::npos)
        << json["findings"][0]["title"];
    EXPECT_EQ(run("replay " + reproducer()).status, 1) << each.body;
  }
}

// A defect that only AddressSanitizer sees, and nothing else in its way.
TEST_F(Command, AnotherBuildSaysThatItCannotSeeTheFinding) {
  if (!fs::exists(std::string(kProgram) + "-asan")) {
    GTEST_SKIP() << "no AddressSanitizer variant in this build tree";
  }
  write("m.c", std::string(kPreamble) +
                   "static void Fill(char *to, SIZE_T n) { RtlFillMemory(to, n, 1); }\n"
                   "NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {\n"
                   "  char b[32];\n  Fill(b, 33 + (p->Length & 1));\n  return b[3] == 1 ? STATUS_SUCCESS : 1;\n}\n");
  const Said found = run("hunt m.c --build asan --time 20s --out out");
  EXPECT_EQ(found.status, 1) << found.err;
  EXPECT_NE(found.out.find("buffer-overflow: "), std::string::npos) << found.out;
  const Said replayed = run("replay " + reproducer() + " --build all");
  EXPECT_EQ(replayed.status, 1);
  EXPECT_NE(replayed.out.find("plain: reached, not observable in this build"), std::string::npos) << replayed.out;
  EXPECT_NE(replayed.out.find("asan: reproduced 1 of 1"), std::string::npos) << replayed.out;
}

TEST_F(Command, FaultsFailsEachCallAndSaysWhatCameOfIt) {
  write_module("right.c", true);
  const Said survived = run("faults right.c --out out --json -");
  EXPECT_EQ(survived.status, 0) << survived.err;
  Json json = Json::parse(survived.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << survived.out;
  ASSERT_EQ(json["sites"].size(), 1U) << survived.out;
  EXPECT_EQ(json["sites"][0]["routine"], "NmrRegisterProvider");
  EXPECT_EQ(json["sites"][0]["place"].get<std::string>().substr(0, 20), "DriverEntry right.c:");
  EXPECT_GE(json["sites"][0]["failures"], 8);
  EXPECT_EQ(json["sites"][0]["findings"], 0);

  // Leaves its memory behind when it cannot register.
  write("leaks.c", std::string(kPreamble) +
                       "#define LEAVE if (NmrDeregisterProvider(Registration) == STATUS_PENDING) "
                       "NmrWaitForProviderDeregisterComplete(Registration); ExFreePool(Memory);\n"
                       "static PVOID Memory;\n" +
                       std::string(kForgetful) +
                       "NTSTATUS Entry(PDRIVER_OBJECT d, PUNICODE_STRING p) {\n"
                       "  Memory = ExAllocatePool2(POOL_FLAG_NON_PAGED, 8, 'kael');\n"
                       "  return Memory ? DriverEntry(d, p) : STATUS_NO_MEMORY;\n}\n"
                       "#define DriverEntry Entry\n");
  std::string leaks = module::read_file((folder_ / "leaks.c").string()).value();
  const std::string entry = "NTSTATUS DriverEntry(";
  leaks.replace(leaks.find(entry), entry.size(), "NTSTATUS Start(");
  leaks.replace(leaks.find("NTSTATUS Entry("), 15, entry);
  leaks.replace(leaks.find("DriverEntry(d, p) :"), 11, "Start");
  write("leaks.c", leaks);
  const Said found = run("faults leaks.c --out out");
  EXPECT_EQ(found.status, 1) << found.err;
  EXPECT_NE(found.out.find("memory-leak: "), std::string::npos) << found.out;
  EXPECT_NE(found.out.find("2 call sites failed, 1 survived"), std::string::npos) << found.out;
  EXPECT_EQ(run("replay " + reproducer()).status, 1);
}

TEST_F(Command, ASweepGoesOnAsAHunt) {
  write_module("right.c", true);
  const Said said = run("hunt right.c --faults sweep --schedules 100 --out out");
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_NE(said.out.find("no finding in 100 schedules"), std::string::npos) << said.out;
  EXPECT_NE(said.out.find("1 call site failed, 1 survived"), std::string::npos) << said.out;
}

TEST_F(Command, ListAndRulesInJson) {
  const Json list = Json::parse(run("list --json").out, nullptr, false);
  ASSERT_TRUE(list["modules"].is_array());
  ASSERT_FALSE(list["modules"].empty());
  for (const Json& module : list["modules"]) {
    EXPECT_TRUE(module["name"].is_string() && module["provides"].is_number_unsigned() &&
                module["consumes"].is_number_unsigned() && module["expected"].is_array())
        << module;
  }
  const Json rules = Json::parse(run("rules --json").out, nullptr, false);
  ASSERT_FALSE(rules["rules"].empty());
  for (const Json& rule : rules["rules"]) {
    EXPECT_TRUE(rule["id"].is_string() && rule["sentence"].is_string() && rule["source"].is_string() &&
                rule["kind"].is_string() && rule["defects"].is_array() &&
                (rule["unobservable"].is_null() || rule["unobservable"].is_string()))
        << rule;
  }
}

TEST_F(Command, NightlyJudgesCanariesAndOthers) {
  write_module("right.c", true);
  write_module("wrong.c", false);
  EXPECT_EQ(run("nightly unload-registered-one-of-two right.c --time 2s --out a").status, 0);
  EXPECT_TRUE(fs::exists(folder_ / "a/report.txt"));
  const Said wrong = run("nightly right.c wrong.c --time 2s --out b --json -");
  EXPECT_EQ(wrong.status, 1) << wrong.err;
  const Json json = Json::parse(wrong.out, nullptr, false);
  EXPECT_EQ(json["rows"][0]["outcome"], "clean") << json;
  EXPECT_EQ(json["rows"][1]["outcome"], "finding") << json;
  EXPECT_EQ(run("nightly no-such-module --out c").status, 2);
}

// A corpus with a canary that is none: the run has to notice.
TEST_F(Command, NightlyFailsWhenACanaryIsMissed) {
  fs::create_directories(folder_ / "corpus/correct");
  fs::create_directories(folder_ / "corpus/planted");
  const std::string head = "// nmrfuzz: module\n// summary: s\n// provides: 1\n// consumes: 0\n";
  write_module("m.c", true);
  const std::string right = module::read_file(folder_ / "m.c").value();
  write("corpus/planted/harmless.c", head + "// expect: deadlock\n" + right);
  const auto result = module::run_process(
      {"/bin/sh", "-c",
       "cd " + folder_.string() + " && NMRFUZZ_CORPUS=corpus " + kProgram + " nightly --time 1s --out out 2>&1"});
  EXPECT_EQ(result.status, 3) << result.output;
  EXPECT_NE(result.output.find("missed"), std::string::npos) << result.output;
}

}  // namespace
}  // namespace nmrfuzz::fuzz
