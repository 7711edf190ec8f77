#include <ntddk.h>

#include <array>
#include <string>
#include <vector>

#include "kernel/counted_string.h"
#include "kernel/kernel_fixture.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

constexpr ULONG kTag = 0x74736554;  // "Test"

class MemoryStringTest : public KernelFixture {
 protected:
  static UNICODE_STRING counted(const wchar_t* text) {
    UNICODE_STRING string{};
    RtlInitUnicodeString(&string, text);
    return string;
  }
};

// A counted string with room for a few units.
struct Buffer {
  std::array<WCHAR, 8> units{};
  UNICODE_STRING string;

  explicit Buffer(USHORT bytes) : string{0, bytes, units.data()} { units.fill(u'#'); }
};

TEST_F(MemoryStringTest, InitCountsBytes) {
  UNICODE_STRING wide{};
  RtlInitUnicodeString(&wide, L"abc");
  EXPECT_EQ(wide.Length, 6);
  EXPECT_EQ(wide.MaximumLength, 8);
  ANSI_STRING narrow{};
  RtlInitAnsiString(&narrow, "abc");
  EXPECT_EQ(narrow.Length, 3);
  EXPECT_EQ(narrow.MaximumLength, 4);
  RtlInitString(&narrow, "");
  EXPECT_EQ(narrow.Length, 0);
  EXPECT_EQ(narrow.MaximumLength, 1);
  RtlInitUnicodeString(&wide, nullptr);
  EXPECT_EQ(wide.Length, 0);
  EXPECT_EQ(wide.MaximumLength, 0);
  EXPECT_EQ(wide.Buffer, nullptr);
}

TEST_F(MemoryStringTest, AStringThatIsTooLongIsCutOff) {
  const std::vector<WCHAR> units(40000, u'a');
  std::vector<WCHAR> text = units;
  text.push_back(0);
  UNICODE_STRING wide{};
  RtlInitUnicodeString(&wide, text.data());
  EXPECT_EQ(wide.Length, 65532);
  EXPECT_EQ(wide.MaximumLength, 65534);
}

TEST_F(MemoryStringTest, CopyStopsAtTheRoomThereIs) {
  struct Case {
    USHORT room;
    USHORT length;
    WCHAR behind;  // what then stands behind the copied units
  };
  for (const Case& test : {Case{4, 4, u'#'}, Case{6, 6, u'#'}, Case{8, 6, 0}, Case{0, 0, u'#'}}) {
    SCOPED_TRACE(test.room);
    Buffer to(test.room);
    const UNICODE_STRING from = counted(L"abc");
    RtlCopyUnicodeString(&to.string, &from);
    EXPECT_EQ(to.string.Length, test.length);
    EXPECT_EQ(to.units[test.length / 2U], test.behind);
  }
  Buffer to(8);
  to.string.Length = 4;
  RtlCopyUnicodeString(&to.string, nullptr);
  EXPECT_EQ(to.string.Length, 0);
  EXPECT_TRUE(breaches().empty());
}

TEST_F(MemoryStringTest, Comparisons) {
  struct Case {
    const wchar_t* a;
    const wchar_t* b;
    bool fold;
    int sign;
    bool is_prefix;
  };
  const Case cases[] = {
      {L"abc", L"abc", false, 0, true}, {L"abc", L"abd", false, -1, false}, {L"abd", L"abc", false, 1, false},
      {L"ab", L"abc", false, -1, true}, {L"abc", L"ab", false, 1, false},   {L"", L"", false, 0, true},
      {L"", L"a", false, -1, true},     {L"ABC", L"abc", false, -1, false}, {L"ABC", L"abc", true, 0, true},
      {L"Ab", L"aBC", true, -1, true},  {L"\xe9", L"\xc9", true, 0, true},  {L"\xf7", L"\xd7", true, 1, false},
      {L"_", L"a", true, 1, false},  // '_' is behind 'A'
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(::testing::Message() << &test - cases);
    const UNICODE_STRING a = counted(test.a);
    const UNICODE_STRING b = counted(test.b);
    const BOOLEAN fold = test.fold ? TRUE : FALSE;
    const LONG difference = RtlCompareUnicodeString(&a, &b, fold);
    EXPECT_EQ((difference > 0) - (difference < 0), test.sign);
    EXPECT_EQ(RtlEqualUnicodeString(&a, &b, fold), test.sign == 0 ? TRUE : FALSE);
    EXPECT_EQ(RtlPrefixUnicodeString(&a, &b, fold), test.is_prefix ? TRUE : FALSE);
  }
}

TEST_F(MemoryStringTest, UpperCase) {
  for (const auto& [lower, upper] : {std::pair<WCHAR, WCHAR>{'a', 'A'},
                                     {'z', 'Z'},
                                     {'{', '{'},
                                     {'0', '0'},
                                     {0xf6, 0xd6},
                                     {0xf7, 0xf7},
                                     {0x3c2, 0x3c2},
                                     {0x3c3, 0x3a3},
                                     {0x44f, 0x42f},
                                     {0x451, 0x401},
                                     {0x20ac, 0x20ac}}) {
    EXPECT_EQ(RtlUpcaseUnicodeChar(lower), upper) << int{lower};
  }
}

TEST_F(MemoryStringTest, AppendFitsOrChangesNothing) {
  Buffer to(8);
  EXPECT_EQ(RtlAppendUnicodeToString(&to.string, L"ab"), kStatusSuccess);
  EXPECT_EQ(to.string.Length, 4);
  EXPECT_EQ(to.units[2], 0);
  const UNICODE_STRING more = counted(L"cd");
  EXPECT_EQ(RtlAppendUnicodeStringToString(&to.string, &more), kStatusSuccess);
  EXPECT_EQ(to.string.Length, 8);
  EXPECT_EQ(to.units[3], u'd');
  EXPECT_EQ(to.units[4], u'#');
  EXPECT_EQ(RtlAppendUnicodeToString(&to.string, L"e"), STATUS_BUFFER_TOO_SMALL);
  EXPECT_EQ(to.string.Length, 8);
  EXPECT_EQ(RtlAppendUnicodeToString(&to.string, nullptr), kStatusSuccess);
  EXPECT_TRUE(breaches().empty());
}

TEST_F(MemoryStringTest, Breaches) {
  struct Case {
    const char* name;
    void (*body)();
    std::uint8_t irql;
    Outcome expected;
  };
  const Case cases[] = {
      {"init at dispatch + 1",
       [] {
         UNICODE_STRING string{};
         RtlInitUnicodeString(&string, L"a");
       },
       kDispatchLevel + 1, Outcome::kIrqlTooHigh},
      {"equal at APC",
       [] {
         const UNICODE_STRING string{};
         RtlEqualUnicodeString(&string, &string, FALSE);
       },
       kApcLevel, Outcome::kIrqlTooHigh},
      {"init null", [] { RtlInitUnicodeString(nullptr, L"a"); }, kPassiveLevel, Outcome::kNullArgument},
      {"no terminator",
       [] {
         auto* const text = static_cast<WCHAR*>(ExAllocatePool2(POOL_FLAG_NON_PAGED, 6, kTag));
         text[0] = text[1] = text[2] = u'a';
         UNICODE_STRING string{};
         RtlInitUnicodeString(&string, text);
       },
       kPassiveLevel, Outcome::kOutOfBounds},
      {"length beyond the buffer",
       [] {
         auto* const text = static_cast<WCHAR*>(ExAllocatePool2(POOL_FLAG_NON_PAGED, 6, kTag));
         const UNICODE_STRING string{8, 8, text};
         RtlCompareUnicodeString(&string, &string, FALSE);
       },
       kPassiveLevel, Outcome::kOutOfBounds},
      {"buffer freed",
       [] {
         auto* const text = static_cast<WCHAR*>(ExAllocatePool2(POOL_FLAG_NON_PAGED, 6, kTag));
         const UNICODE_STRING from{6, 6, text};
         Buffer to(8);
         ExFreePool(text);
         RtlCopyUnicodeString(&to.string, &from);
       },
       kPassiveLevel, Outcome::kFreedAccess},
      {"no buffer",
       [] {
         UNICODE_STRING to{0, 8, nullptr};
         RtlAppendUnicodeToString(&to, L"a");
       },
       kPassiveLevel, Outcome::kNullArgument},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    EXPECT_EQ(outcomes_of(test.body, test.irql), std::vector{test.expected});
  }
}

}  // namespace
}  // namespace nmrfuzz::kernel
