#include "module/elf_file.h"

#include "module/files.h"
#include "module/module_fixture.h"

namespace nmrfuzz::module {
namespace {

class ElfFileTest : public ModuleFixture {
 protected:
  std::string contents() {
    return read_file(shared_object("a.c",
                                   "void b(void); void a(void); int v; static int s = 1;\n"
                                   "int DriverEntry(void) { b(); a(); return v + s++; }\n"))
        .value_or("");
  }
};

TEST_F(ElfFileTest, FindsSymbolsAndRanges) {
  std::string error;
  const auto file = parse_elf(contents(), error);
  ASSERT_TRUE(file) << error;
  EXPECT_TRUE(std::binary_search(file->defined.begin(), file->defined.end(), "DriverEntry"));
  EXPECT_FALSE(std::binary_search(file->defined.begin(), file->defined.end(), "s"));
  EXPECT_TRUE(std::binary_search(file->undefined.begin(), file->undefined.end(), "a"));
  EXPECT_TRUE(std::binary_search(file->undefined.begin(), file->undefined.end(), "b"));
  EXPECT_FALSE(std::binary_search(file->undefined.begin(), file->undefined.end(), "__gmon_start__")) << "weak";
  EXPECT_FALSE(file->text.empty());
  ASSERT_FALSE(file->variables.empty());
  for (const AddressRange& range : file->variables) {
    EXPECT_GE(range.begin, file->data.begin);
    EXPECT_LE(range.end, file->data.end);
  }
}

TEST_F(ElfFileTest, EveryTruncationIsAnError) {
  const std::string whole = contents();
  ASSERT_FALSE(whole.empty());
  for (std::size_t size = 0; size < whole.size(); size += 1 + size / 64) {
    std::string error;
    EXPECT_FALSE(parse_elf(std::string_view(whole).substr(0, size), error)) << size;
    EXPECT_FALSE(error.empty());
  }
}

// Damaged bytes may go unnoticed, but must not lead the reader out of the file: the ASan build would tell.
TEST_F(ElfFileTest, SurvivesDamage) {
  const std::string whole = contents();
  for (std::size_t at = 0; at < whole.size(); at += at < 1024 ? 1 : 7) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0xff);
    std::string error;
    (void)parse_elf(damaged, error);
  }
  std::string error;
  EXPECT_FALSE(parse_elf(std::string(100000, 'x'), error));
}

}  // namespace
}  // namespace nmrfuzz::module
