#include "module/compile.h"

#include <algorithm>
#include <thread>

#include "module/files.h"
#include "module/module_fixture.h"
#include "nmrfuzz_config.h"

namespace nmrfuzz::module {
namespace {

class CompileTest : public ModuleFixture {
 protected:
  Build built(const BuildRequest& request) {
    auto result = build(request);
    if (const auto* failure = std::get_if<BuildFailure>(&result)) {
      ADD_FAILURE() << failure->message;
      return {};
    }
    return std::get<Build>(result);
  }
  BuildFailure failed(const BuildRequest& request) {
    auto result = build(request);
    const auto* failure = std::get_if<BuildFailure>(&result);
    EXPECT_NE(failure, nullptr) << "it was built";
    return failure == nullptr ? BuildFailure{} : *failure;
  }
};

constexpr const char* kEntry = "int DriverEntry(void) { return 0; }\n";

TEST_F(CompileTest, MakesEachVariantAsked) {
  BuildRequest request = request_for({folder.write("a.c", kEntry)});
  request.variants.assign(kAllVariants.begin(), kAllVariants.end());
  const Build build = built(request);
  for (const Variant variant : kAllVariants) {
    EXPECT_TRUE(std::filesystem::exists(build.shared_object(variant))) << name_of(variant);
  }
  EXPECT_EQ(build.source_hash.size(), 16U);
}

struct Dialect {
  const char* name;
  const char* file;
  const char* text;
};

// What drivers contain and clang would not take by itself.
class DialectTest : public CompileTest, public ::testing::WithParamInterface<Dialect> {};

TEST_P(DialectTest, IsAccepted) { built(request_for({folder.write(GetParam().file, GetParam().text)})); }

INSTANTIATE_TEST_SUITE_P(
    All, DialectTest,
    ::testing::Values(
        Dialect{"WideStringsHave16Bits", "a.c",
                "static const unsigned short s[] = L\"ab\"; _Static_assert(sizeof s == 6, \"\");"},
        Dialect{"UnnamedMembers", "a.c",
                "struct A { int x; }; struct B { struct A; int y; }; int f(struct B* b) { return b->x; }"},
        Dialect{"Declspec", "a.c", "__declspec(align(64)) int x; __declspec(noinline) int f(void) { return x; }"},
        Dialect{"CallbackThatTakesConst", "a.c",
                "typedef int F(void*); static int f(const void* p) { return p != 0; } F* g = f;"},
        Dialect{"PoolTag", "a.c", "unsigned tag = 'ohcE';"},
        Dialect{"MsBitFields", "a.c",
                "struct S { char a : 4; int b : 4; }; _Static_assert(sizeof(struct S) == 8, \"\");"},
        Dialect{
            "Cxx20", "a.cpp",
            "template <class T> concept C = sizeof(T) == 4; static_assert(C<int>); static_assert(sizeof(L'a') == 2);"},
        Dialect{"CxxGuardlessStatics", "a.cc", "int g(); int f() { static int x = g(); return x; }"}),
    [](const auto& info) { return info.param.name; });

TEST_F(CompileTest, DiagnosticsAreTheCompilersOwn) {
  const std::string source = folder.write("bad.c", "int f(void)\n{\n  return KeNoSuchRoutine(1);\n}\n");
  const BuildFailure failure = failed(request_for({folder.write("good.c", kEntry), source}));
  EXPECT_EQ(failure.kind, BuildFailureKind::kCompileError);
  EXPECT_EQ(failure.message.find(source + ":3:10: error: "), 0U) << failure.message;
  EXPECT_NE(failure.message.find("KeNoSuchRoutine"), std::string::npos);
}

TEST_F(CompileTest, WarningsAreReturnedFromTheCacheToo) {
  BuildRequest request = request_for({folder.write("a.c", "#warning \"look here\"\n")});
  EXPECT_NE(built(request).diagnostics.find("look here"), std::string::npos);
  const Build again = built(request);
  EXPECT_FALSE(again.compiled);
  EXPECT_NE(again.diagnostics.find("look here"), std::string::npos);
}

TEST_F(CompileTest, LinkerErrorsAreCompileErrors) {
  const BuildFailure failure = failed(request_for({folder.write("a.c", kEntry), folder.write("b.c", kEntry)}));
  EXPECT_EQ(failure.kind, BuildFailureKind::kCompileError);
  EXPECT_NE(failure.message.find("DriverEntry"), std::string::npos) << failure.message;
}

TEST_F(CompileTest, UnusableRequestsAreTold) {
  const std::string good = folder.write("a.c", kEntry);
  EXPECT_EQ(failed(request_for({})).kind, BuildFailureKind::kNoSource);
  EXPECT_EQ(failed(request_for({good, folder / "none.c"})).message, folder / "none.c" + ": No such file or directory");
  EXPECT_EQ(failed(request_for({folder.write("a.asm", "")})).kind, BuildFailureKind::kNoSource);
  EXPECT_EQ(failed(request_for({folder.path() + "/."})).kind, BuildFailureKind::kNoSource);

  BuildRequest request = request_for({good});
  request.toolchain.clang = folder / "no-clang";
  EXPECT_EQ(failed(request).kind, BuildFailureKind::kNoTool);

  request = request_for({good});
  request.cache = good + "/cache";  // below a file
  EXPECT_EQ(failed(request).kind, BuildFailureKind::kNoCache);
  EXPECT_NE(failed(request).message.find("NMRFUZZ_CACHE"), std::string::npos);
}

TEST_F(CompileTest, CompilesOnlyWhatHasChanged) {
  folder.write("h.h", "#define VALUE 1\n");
  const std::string source = folder.write("a.c", std::string("#include \"h.h\"\nint x = VALUE;\n") + kEntry);
  const BuildRequest request = request_for({source});
  const Build first = built(request);
  EXPECT_TRUE(first.compiled);
  const Build second = built(request);
  EXPECT_FALSE(second.compiled);
  EXPECT_EQ(second.shared_objects, first.shared_objects);
  EXPECT_EQ(second.source_hash, first.source_hash);

  folder.write("h.h", "#define VALUE 2\n");
  const Build changed = built(request);
  EXPECT_TRUE(changed.compiled);
  EXPECT_NE(changed.shared_objects, first.shared_objects);
  EXPECT_NE(changed.source_hash, first.source_hash);

  folder.write("h.h", "#define VALUE 1\n");
  const Build back = built(request);
  EXPECT_FALSE(back.compiled);
  EXPECT_EQ(back.shared_objects, first.shared_objects);

  BuildRequest other = request;
  other.options = {"-DOTHER"};
  EXPECT_TRUE(built(other).compiled);
  EXPECT_EQ(built(other).source_hash, first.source_hash);

  other = request;
  other.variants = {Variant::kPlain, Variant::kAsan, Variant::kTsan};
  EXPECT_TRUE(built(other).compiled);  // the other variants only
  EXPECT_EQ(built(other).shared_object(variant()), first.shared_object(variant()));
}

TEST_F(CompileTest, RepairsADamagedCache) {
  const BuildRequest request = request_for({folder.write("a.c", kEntry)});
  const std::string path = built(request).shared_object(variant());
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  EXPECT_TRUE(built(request).compiled);
  EXPECT_FALSE(built(request).compiled);
  std::filesystem::remove_all(std::filesystem::path(path).parent_path());
  EXPECT_TRUE(built(request).compiled);
}

// A hash that hangs on paths would tell two machines that they have different sources.
TEST_F(CompileTest, SourceHashIgnoresPathsAndOtherPeoplesHeaders) {
  const std::string text = std::string("#include <stddef.h>\n#include \"h.h\"\n") + kEntry;
  const auto hash_in = [&](const std::string& place, const std::string& own, const std::string& wdk) {
    folder.write(place + "/h.h", own);
    folder.write(place + "-wdk/w.h", wdk);
    BuildRequest request = request_for({folder.write(place + "/a.c", text + "#include <w.h>\n")});
    request.toolchain.headers = folder / (place + "-wdk");
    return built(request).source_hash;
  };
  const std::string hash = hash_in("one", "int y;\n", "int w;\n");
  EXPECT_EQ(hash_in("two", "int y;\n", "int v;\n"), hash);
  EXPECT_NE(hash_in("three", "int z;\n", "int w;\n"), hash);
}

TEST_F(CompileTest, RunsAtTheSameTimeShareOneCache) {
  const BuildRequest request = request_for({folder.write("a.c", kEntry), folder.write("b.c", "int b;\n")});
  std::vector<std::string> paths(4);
  std::vector<std::thread> runs;
  runs.reserve(paths.size());
  for (std::string& path : paths) {
    runs.emplace_back([&request, &path] {
      auto result = build(request);
      if (const auto* build = std::get_if<Build>(&result)) {
        path = build->shared_object(request.variants.front());
      }
    });
  }
  for (std::thread& run : runs) {
    run.join();
  }
  EXPECT_FALSE(paths.front().empty());
  EXPECT_EQ(std::count(paths.begin(), paths.end(), paths.front()), 4);
  for (const auto& item : std::filesystem::directory_iterator(request.cache)) {
    EXPECT_EQ(item.path().filename().string().find("building-"), std::string::npos) << "left behind";
  }
}

// Stands in for the compiler: changes a header while it "compiles", `times` times at most.
std::string meddling_compiler(const Folder& folder, const std::string& header, int times) {
  const std::string count = folder.write("count", "");
  const std::string script =
      folder.write("meddler", "#!/bin/sh\n" NMRFUZZ_CLANG " \"$@\" || exit 1\n" + std::string("[ $(wc -c <") + count +
                                  ") -ge " + std::to_string(times) + " ] && exit\n" + "printf x >>" + count +
                                  "\necho \"int n$(wc -c <" + count + ");\" >>" + header + "\n");
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  return script;
}

// Otherwise the old code would stay in the cache under the new contents for good.
TEST_F(CompileTest, AHeaderThatChangesMeanwhileIsCompiledAgain) {
  const std::string header = folder.write("h.h", "");
  BuildRequest request = request_for({folder.write("a.c", std::string("#include \"h.h\"\n") + kEntry)});
  request.toolchain.clang = meddling_compiler(folder, header, 1);
  const auto image = Image::load(built(request).shared_object(variant()));
  ASSERT_TRUE(std::holds_alternative<std::unique_ptr<Image>>(image));
  EXPECT_NE(std::get<std::unique_ptr<Image>>(image)->symbol("n1"), nullptr);
}

TEST_F(CompileTest, SourcesThatNeverRestAreAnError) {
  const std::string header = folder.write("h.h", "");
  BuildRequest request = request_for({folder.write("a.c", std::string("#include \"h.h\"\n") + kEntry)});
  request.toolchain.clang = meddling_compiler(folder, header, 1000);
  EXPECT_EQ(failed(request).kind, BuildFailureKind::kSourcesChange);
}

TEST(DefaultCacheFolder, TakesTheFirstVariableThatIsSet) {
  setenv("NMRFUZZ_CACHE", "/a", 1);
  EXPECT_EQ(default_cache_folder(), "/a");
  unsetenv("NMRFUZZ_CACHE");
  setenv("XDG_CACHE_HOME", "/b", 1);
  EXPECT_EQ(default_cache_folder(), "/b/nmrfuzz");
  unsetenv("XDG_CACHE_HOME");
  setenv("HOME", "/c", 1);
  EXPECT_EQ(default_cache_folder(), "/c/.cache/nmrfuzz");
}

}  // namespace
}  // namespace nmrfuzz::module
