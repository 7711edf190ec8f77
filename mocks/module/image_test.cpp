#include "module/image.h"

#include "module/module_fixture.h"

namespace nmrfuzz::module {
namespace {

// A module calls this one; nothing defines the others.
extern "C" __attribute__((used, visibility("default"))) int NmrfuzzImageTestRoutine(int value) { return value * 2; }

class ImageTest : public ModuleFixture {};

constexpr const char* kState = R"(
int data = 5;
int bss[4];
static int hidden = 7;
static int* pointer = &data;
int NmrfuzzImageTestRoutine(int value);
int Count(void) { static int calls; return ++calls; }
int Hidden(void) { return hidden++; }
int* Pointer(void) { int* p = pointer; pointer = 0; return p; }
int Late(void) { return bss[2]; }
int DriverEntry(void) { return NmrfuzzImageTestRoutine(21); }
)";

TEST_F(ImageTest, CallsReachTheProgram) {
  const auto image = load("a.c", kState);
  ASSERT_NE(image, nullptr);
  EXPECT_EQ(reinterpret_cast<int (*)()>(image->entry())(), 42);
  EXPECT_EQ(image->unload(), nullptr);
  EXPECT_EQ(image->symbol("NoSuchSymbol"), nullptr);
}

TEST_F(ImageTest, ResetRestoresEveryKindOfVariable) {
  const auto image = load("a.c", kState);
  ASSERT_NE(image, nullptr);
  const auto data = find<int*>(*image, "data");
  const auto bss = find<int*>(*image, "bss");
  const auto count = find<int (*)()>(*image, "Count");
  const auto hidden = find<int (*)()>(*image, "Hidden");
  const auto pointer = find<int* (*)()>(*image, "Pointer");
  for (int execution = 0; execution < 3; ++execution) {
    EXPECT_EQ(*data, 5);
    EXPECT_EQ(bss[3], 0);
    EXPECT_EQ(count(), 1);
    EXPECT_EQ(count(), 2);
    EXPECT_EQ(hidden(), 7);
    EXPECT_EQ(hidden(), 8);
    EXPECT_EQ(pointer(), data) << "relocated";
    EXPECT_EQ(pointer(), nullptr);
    *data = bss[3] = 99;
    image->reset();
  }
}

TEST_F(ImageTest, ResetRestoresWhatConstructorsLeft) {
  const auto image = load("a.cpp", R"(
extern "C" int NmrfuzzImageTestRoutine(int value);
struct Made { int value; Made() : value(NmrfuzzImageTestRoutine(4)) {} ~Made() { value = -1; } };
static Made made;
extern "C" int DriverEntry() { return made.value++; }
)");
  ASSERT_NE(image, nullptr);
  const auto entry = reinterpret_cast<int (*)()>(image->entry());
  EXPECT_EQ(entry(), 8);
  EXPECT_EQ(entry(), 9);
  image->reset();
  EXPECT_EQ(entry(), 8);
}

// libFuzzer learns from the counters after the execution: a reset must not take them back.
TEST_F(ImageTest, ResetKeepsCoverageCounters) {
  const auto image = load("a.c", R"(
extern unsigned char first[] __asm__("__start___sancov_cntrs") __attribute__((visibility("hidden")));
extern unsigned char end[] __asm__("__stop___sancov_cntrs") __attribute__((visibility("hidden")));
__attribute__((no_sanitize("coverage"))) int Counted(void) { int n = 0; for (unsigned char* p = first; p < end; ++p) n += *p; return n; }
int DriverEntry(void) { return 0; }
)");
  ASSERT_NE(image, nullptr);
  const auto counted = find<int (*)()>(*image, "Counted");
  reinterpret_cast<int (*)()>(image->entry())();
  const int before = counted();
  EXPECT_GT(before, 0);
  image->reset();
  EXPECT_EQ(counted(), before);
}

TEST_F(ImageTest, TwoLoadsShareNothing) {
  const std::string path = shared_object("a.c", kState);
  auto first = Image::load(path);
  auto second = Image::load(path);
  ASSERT_TRUE(std::holds_alternative<std::unique_ptr<Image>>(first));
  ASSERT_TRUE(std::holds_alternative<std::unique_ptr<Image>>(second));
  const Image& a = *std::get<std::unique_ptr<Image>>(first);
  const Image& b = *std::get<std::unique_ptr<Image>>(second);
  EXPECT_NE(a.entry(), b.entry());
  *find<int*>(a, "data") = 1;
  EXPECT_EQ(*find<int*>(b, "data"), 5);
  EXPECT_EQ(find<int (*)()>(a, "Count")(), 1);
  EXPECT_EQ(find<int (*)()>(b, "Count")(), 1);
}

TEST_F(ImageTest, AModulesOwnNamesComeFirst) {
  const auto first = load(
      "a.c", "int shared = 1; int Helper(void) { return 10; } int DriverEntry(void) { return Helper() + shared; }");
  const auto second = load(
      "b.c", "int shared = 2; int Helper(void) { return 20; } int DriverEntry(void) { return Helper() + shared; }");
  ASSERT_TRUE(first && second);
  EXPECT_EQ(reinterpret_cast<int (*)()>(first->entry())(), 11);
  EXPECT_EQ(reinterpret_cast<int (*)()>(second->entry())(), 22);
}

TEST_F(ImageTest, KnowsItsCodeAndData) {
  const auto image = load("a.c", kState);
  ASSERT_NE(image, nullptr);
  const auto entry = reinterpret_cast<std::uintptr_t>(image->entry());
  const auto bss = reinterpret_cast<std::uintptr_t>(image->symbol("bss"));
  EXPECT_TRUE(image->contains_code(entry));
  EXPECT_FALSE(image->contains_code(bss));
  EXPECT_TRUE(image->contains_data(bss));
  EXPECT_FALSE(image->contains_data(entry));
  EXPECT_FALSE(image->contains_code(reinterpret_cast<std::uintptr_t>(&NmrfuzzImageTestRoutine)));
}

TEST_F(ImageTest, AllMissingRoutinesAreNamed) {
  const std::string path =
      shared_object("a.c",
                    "void ZwMissing(void); void ExMissing(void); int NmrfuzzImageTestRoutine(int);\n"
                    "int DriverEntry(void) { ZwMissing(); ExMissing(); return NmrfuzzImageTestRoutine(1); }");
  const LoadFailure failure = load_failure(path);
  EXPECT_EQ(failure.kind, LoadFailureKind::kUndefinedSymbols);
  EXPECT_EQ(failure.symbols, (std::vector<std::string>{"ExMissing", "ZwMissing"}));
  EXPECT_NE(failure.message.find("ExMissing ZwMissing"), std::string::npos);
}

TEST_F(ImageTest, EntryAndUnloadAreLookedUpByName) {
  const std::string path = shared_object("a.c", "int MyEntry(void) { return 1; } void MyUnload(void) {}");
  EXPECT_EQ(load_failure(path).kind, LoadFailureKind::kNoEntry);
  EXPECT_EQ(load_failure(path, {"MyEntry", "Other"}).kind, LoadFailureKind::kNoEntry);
  auto result = Image::load(path, {"MyEntry", "MyUnload"});
  ASSERT_TRUE(std::holds_alternative<std::unique_ptr<Image>>(result));
  EXPECT_NE(std::get<std::unique_ptr<Image>>(result)->unload(), nullptr);
}

TEST_F(ImageTest, ACxxEntryGetsAHint) {
  const LoadFailure failure = load_failure(shared_object("a.cpp", "int DriverEntry(int*, char*) { return 1; }"));
  EXPECT_EQ(failure.kind, LoadFailureKind::kNoEntry);
  EXPECT_NE(failure.message.find("extern \"C\""), std::string::npos);
}

TEST_F(ImageTest, UnusableFilesAreTold) {
  EXPECT_EQ(load_failure(folder / "none.so").message, folder / "none.so" + ": No such file or directory");
  EXPECT_EQ(load_failure(folder.write("garbage.so", "garbage")).kind, LoadFailureKind::kUnusableFile);
}

TEST_F(ImageTest, PoisonLeavesNothingBehind) {
  const auto image = load("a.c", kState);
  ASSERT_NE(image, nullptr);
  const auto late = find<int (*)()>(*image, "Late");
  image->poison();
  image->unpoison();
  EXPECT_EQ(late(), 0);
  image->poison();
  image->reset();
  EXPECT_EQ(late(), 0);
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
  const auto bss = find<int*>(*image, "bss");
  EXPECT_DEATH(
      {
        image->poison();
        late();
      },
      "use-after-poison");
  volatile int four = 4;
  EXPECT_DEATH(bss[four] = 1, "global-buffer-overflow") << "red zones survive";
#endif
#endif
}

}  // namespace
}  // namespace nmrfuzz::module
