// command_fixture.h - for tests of the nmrfuzz program: runs it in a folder of its own, writes modules for it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "module/files.h"
#include "module/process.h"
#include "nmrfuzz_config.h"

namespace nmrfuzz::fuzz {

namespace fs = std::filesystem;
using Json = nlohmann::json;

inline constexpr const char* kProgram = NMRFUZZ_BINARY_DIR "/nmrfuzz";

struct Said {
  int status = 0;
  std::string out;
  std::string err;
};

inline constexpr const char* kPreamble = R"(
#include <ntddk.h>
#include <netioddk.h>
)";

// Registers a provider and forgets it: found in every execution.
inline constexpr const char* kForgetful = R"(
static NPIID Npi = {0x12345678, 1, 2, {1, 2, 3, 4, 5, 6, 7, 8}};
static NPI_MODULEID Id = {sizeof(NPI_MODULEID), MIT_GUID, {{0x87654321, 1, 2, {1, 2, 3, 4, 5, 6, 7, 8}}}};
static NTSTATUS NTAPI Attach(HANDLE h, PVOID c, PNPI_REGISTRATION_INSTANCE i, PVOID b, CONST VOID *d, PVOID *p,
                             CONST VOID **t) {
  return STATUS_NOINTERFACE;
}
static NTSTATUS NTAPI Detach(PVOID c) { return STATUS_SUCCESS; }
static NPI_PROVIDER_CHARACTERISTICS Provider = {
    0, sizeof(NPI_PROVIDER_CHARACTERISTICS), Attach, Detach, NULL,
    {0, sizeof(NPI_REGISTRATION_INSTANCE), &Npi, &Id, 0, NULL}};
static HANDLE Registration;
static VOID Unload(PDRIVER_OBJECT d) { LEAVE }
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
  d->DriverUnload = Unload;
  return NmrRegisterProvider(&Provider, NULL, &Registration);
}
)";

class Command : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kProgram)) {
      GTEST_SKIP() << kProgram << " is not built";
    }
    std::string pattern = testing::TempDir() + "command-XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }
  // A module that deregisters in Unload (right) or does not (a finding).
  void write_module(const std::string& name, bool right) {
    write(name, std::string(kPreamble) + "#define LEAVE " +
                    (right ? "if (NmrDeregisterProvider(Registration) == STATUS_PENDING) "
                             "NmrWaitForProviderDeregisterComplete(Registration);"
                           : "") +
                    "\n" + kForgetful);
  }

  Said run(const std::string& arguments) {
    const std::string error = folder_ / "stderr";
    const auto result = module::run_process(
        {"/bin/sh", "-c", "cd " + folder_.string() + " && " + kProgram + " " + arguments + " 2>" + error});
    return {result.status, result.output, module::read_file(error).value_or("")};
  }

  // The only reproducer in the folder "out".
  std::string reproducer() const {
    for (const auto& entry : fs::directory_iterator(folder_ / "out")) {
      return entry.path();
    }
    return "";
  }

  fs::path folder_;
};

}  // namespace nmrfuzz::fuzz
