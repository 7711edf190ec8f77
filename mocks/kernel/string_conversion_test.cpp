#include <ntddk.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "kernel/kernel_fixture.h"
#include "kernel/pool_audit.h"
#include "kernel/status.h"

namespace nmrfuzz::kernel {
namespace {

class StringConversionTest : public KernelFixture {
 protected:
  static UNICODE_STRING counted(const wchar_t* text) {
    UNICODE_STRING string{};
    RtlInitUnicodeString(&string, text);
    return string;
  }
};

std::u16string text_of(const UNICODE_STRING& string) {
  return {reinterpret_cast<const char16_t*>(string.Buffer), string.Length / sizeof(WCHAR)};
}

TEST_F(StringConversionTest, AnsiToUnicodeAndBack) {
  EXPECT_EQ(outcomes_of([&] {
              ANSI_STRING ansi{};
              RtlInitAnsiString(&ansi, "a\xe9z");
              UNICODE_STRING wide{};
              EXPECT_EQ(RtlAnsiStringToUnicodeString(&wide, &ansi, TRUE), kStatusSuccess);
              EXPECT_EQ(text_of(wide), u"a\u00e9z");
              EXPECT_EQ(wide.MaximumLength, 8);
              EXPECT_EQ(wide.Buffer[3], 0);
              EXPECT_EQ(next_leak(kernel.pool(), kModule, 0), 1U);
              wide.Buffer[0] = 0x20ac;
              ANSI_STRING back{};
              EXPECT_EQ(RtlUnicodeStringToAnsiString(&back, &wide, TRUE), kStatusSuccess);
              EXPECT_STREQ(back.Buffer, "?\xe9z");
              RtlFreeAnsiString(&back);
              RtlFreeUnicodeString(&wide);
              EXPECT_EQ(wide.Buffer, nullptr);
              RtlFreeUnicodeString(&wide);  // nothing left to free
              EXPECT_EQ(next_leak(kernel.pool(), kModule, 0), 0U);
            }),
            std::vector<Outcome>{});
}

TEST_F(StringConversionTest, AConversionIntoABufferNeedsRoomForTheTerminator) {
  std::array<WCHAR, 4> units{};
  units.fill(u'#');
  ANSI_STRING ansi{};
  RtlInitAnsiString(&ansi, "ab");
  UNICODE_STRING wide{0, 4, units.data()};
  EXPECT_EQ(RtlAnsiStringToUnicodeString(&wide, &ansi, FALSE), STATUS_BUFFER_OVERFLOW);
  EXPECT_EQ(units[0], u'#');
  wide.MaximumLength = 6;
  EXPECT_EQ(RtlAnsiStringToUnicodeString(&wide, &ansi, FALSE), kStatusSuccess);
  EXPECT_EQ(wide.Length, 4);
  EXPECT_EQ(units[2], 0);
  EXPECT_EQ(units[3], u'#');
  std::array<CHAR, 3> narrow_units{};
  ANSI_STRING narrow{0, 2, narrow_units.data()};
  EXPECT_EQ(RtlUnicodeStringToAnsiString(&narrow, &wide, FALSE), STATUS_BUFFER_OVERFLOW);
  narrow.MaximumLength = 3;
  EXPECT_EQ(RtlUnicodeStringToAnsiString(&narrow, &wide, FALSE), kStatusSuccess);
  EXPECT_STREQ(narrow.Buffer, "ab");
  std::vector<CHAR> text(40000, 'a');
  const ANSI_STRING too_long{40000, 40000, text.data()};
  EXPECT_EQ(RtlAnsiStringToUnicodeString(&wide, &too_long, TRUE), STATUS_INVALID_PARAMETER_2);
  EXPECT_TRUE(breaches().empty());
}

TEST_F(StringConversionTest, AllocationFailsWhenDecided) {
  options.faults = true;
  int failed = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    run(seed, [&] {
      const UNICODE_STRING wide = counted(L"ab");
      ANSI_STRING ansi{};
      const NTSTATUS status = RtlUnicodeStringToAnsiString(&ansi, &wide, TRUE);
      EXPECT_EQ(status == kStatusNoMemory, ansi.Buffer == nullptr);
      failed += status == kStatusNoMemory ? 1 : 0;
    });
  }
  EXPECT_GT(failed, 0);
  EXPECT_LT(failed, 100);
}

TEST_F(StringConversionTest, IntegerToString) {
  struct Case {
    ULONG value;
    ULONG base;
    USHORT room;
    NTSTATUS status;
    const char16_t* expected;
  };
  const Case cases[] = {
      {0, 10, 20, kStatusSuccess, u"0"},
      {4294967295, 0, 20, kStatusSuccess, u"4294967295"},
      {0xdeadbeef, 16, 16, kStatusSuccess, u"DEADBEEF"},
      {5, 2, 6, kStatusSuccess, u"101"},
      {8, 8, 20, kStatusSuccess, u"10"},
      {5, 2, 4, STATUS_BUFFER_OVERFLOW, u""},
      {5, 7, 20, kStatusInvalidParameter, u""},
      {0xffffffff, 2, 64, kStatusSuccess, u"11111111111111111111111111111111"},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.value);
    std::array<WCHAR, 40> units{};
    UNICODE_STRING string{0, test.room, units.data()};
    EXPECT_EQ(RtlIntegerToUnicodeString(test.value, test.base, &string), test.status);
    EXPECT_EQ(text_of(string), test.expected);
  }
}

TEST_F(StringConversionTest, StringToInteger) {
  struct Case {
    const wchar_t* text;
    ULONG base;
    ULONG expected;
  };
  const Case cases[] = {{L"42", 0, 42},   {L" \t+42x", 10, 42}, {L"-1", 0, 0xffffffff},
                        {L"0x1F", 0, 31}, {L"0o17", 0, 15},     {L"0b101", 0, 5},
                        {L"ff", 16, 255}, {L"0x10", 16, 0},     {L"19", 8, 1},
                        {L"", 0, 0},      {L"0", 0, 0}};
  for (const Case& test : cases) {
    SCOPED_TRACE(::testing::Message() << &test - cases);
    const UNICODE_STRING string = counted(test.text);
    ULONG value = 77;
    EXPECT_EQ(RtlUnicodeStringToInteger(&string, test.base, &value), kStatusSuccess);
    EXPECT_EQ(value, test.expected);
  }
  const UNICODE_STRING string = counted(L"1");
  ULONG value = 77;
  EXPECT_EQ(RtlUnicodeStringToInteger(&string, 3, &value), kStatusInvalidParameter);
  EXPECT_EQ(value, 77U);
}

constexpr GUID kGuid = {0x01234567, 0x89ab, 0xcdef, {0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe}};

TEST_F(StringConversionTest, GuidToStringAndBack) {
  EXPECT_EQ(outcomes_of([] {
              UNICODE_STRING string{};
              EXPECT_EQ(RtlStringFromGUID(kGuid, &string), kStatusSuccess);
              EXPECT_EQ(text_of(string), u"{01234567-89AB-CDEF-1032-547698BADCFE}");
              GUID back{};
              EXPECT_EQ(RtlGUIDFromString(&string, &back), kStatusSuccess);
              EXPECT_EQ(std::memcmp(&back, &kGuid, sizeof back), 0);
              RtlFreeUnicodeString(&string);
            }),
            std::vector<Outcome>{});
}

TEST_F(StringConversionTest, NotAGuid) {
  for (const wchar_t* const text :
       {L"", L"01234567-89AB-CDEF-1032-547698BADCFE", L"{01234567-89AB-CDEF-1032-547698BADCFG}",
        L"{01234567-89AB-CDEF-1032-547698BADCFE ", L"{01234567089AB-CDEF-1032-547698BADCFE}",
        L"{01234567-89AB-CDEF-1032-547698BADCFE}}"}) {
    const UNICODE_STRING string = counted(text);
    GUID guid = kGuid;
    EXPECT_EQ(RtlGUIDFromString(&string, &guid), kStatusInvalidParameter);
    EXPECT_EQ(std::memcmp(&guid, &kGuid, sizeof guid), 0);
  }
  const UNICODE_STRING lower = counted(L"{01234567-89ab-cdef-1032-547698badcfe}");
  GUID guid{};
  EXPECT_EQ(RtlGUIDFromString(&lower, &guid), kStatusSuccess);
  EXPECT_EQ(std::memcmp(&guid, &kGuid, sizeof guid), 0);
}

TEST_F(StringConversionTest, Version) {
  RTL_OSVERSIONINFOEXW version{};
  version.wReserved = 1;
  version.dwOSVersionInfoSize = sizeof version;
  EXPECT_EQ(RtlGetVersion(reinterpret_cast<PRTL_OSVERSIONINFOW>(&version)), kStatusSuccess);
  EXPECT_EQ(version.dwMajorVersion, 10U);
  EXPECT_NE(version.dwBuildNumber, 0U);
  EXPECT_EQ(version.wReserved, 0);
  version = {};
  version.wReserved = 1;
  version.dwOSVersionInfoSize = sizeof(RTL_OSVERSIONINFOW);
  EXPECT_EQ(RtlGetVersion(reinterpret_cast<PRTL_OSVERSIONINFOW>(&version)), kStatusSuccess);
  EXPECT_EQ(version.wReserved, 1);
  EXPECT_TRUE(breaches().empty());
  version.dwOSVersionInfoSize = 0;
  RtlGetVersion(reinterpret_cast<PRTL_OSVERSIONINFOW>(&version));
  EXPECT_EQ(outcomes(), std::vector{Outcome::kBadArgumentValue});
}

TEST_F(StringConversionTest, GuidsAreFreshInAnExecutionAndTheSameInTheNext) {
  const auto make = [&] {
    std::array<GUID, 3> guids{};
    run(0, [&] {
      for (GUID& guid : guids) {
        EXPECT_EQ(ExUuidCreate(&guid), kStatusSuccess);
      }
    });
    return guids;
  };
  const auto first = make();
  const auto second = make();
  EXPECT_EQ(std::memcmp(first.data(), second.data(), sizeof first), 0);
  EXPECT_NE(std::memcmp(&first[0], &first[1], sizeof(GUID)), 0);
  EXPECT_NE(std::memcmp(&first[1], &first[2], sizeof(GUID)), 0);
  EXPECT_EQ(outcomes_of(
                [] {
                  GUID guid{};
                  ExUuidCreate(&guid);
                },
                kDispatchLevel),
            std::vector{Outcome::kIrqlTooHigh});
}

}  // namespace
}  // namespace nmrfuzz::kernel
