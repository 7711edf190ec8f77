// image.h - one loaded module: finds its entry, resets its variables, knows its code, forbids its data.
//
// Every load is a copy of its own: two images of one file share nothing. Whatever the module calls must be exported by
// the program. Thread safety: none. Nothing is allocated after load(). Invariants: (1) after reset() every variable is
// as the loader and the module's constructors left it; coverage
//                 counters and sanitizer tables are not variables  (2) poison() changes no byte of the module
// States:  usable -> poisoned (poison) -> usable (unpoison, reset)
// Not covered: thread-local variables keep their values.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "module/elf_file.h"

namespace nmrfuzz::module {

struct LoadOptions {
  std::string entry = "DriverEntry";
  std::string unload;  // for modules whose DRIVER_OBJECT does not name one; empty: none
};

enum class LoadFailureKind : std::uint8_t {
  kUnusableFile,      // missing, unreadable, or not a whole shared object
  kNoEntry,           // it does not define the entry or unload routine
  kUndefinedSymbols,  // it calls what this program does not have
  kRefused            // the dynamic linker's own words
};

struct LoadFailure {
  LoadFailureKind kind;
  std::string message;
  std::vector<std::string> symbols;  // kUndefinedSymbols: all of them, sorted
};

class Image {
 public:
  // Loads the shared object at `path` and runs its constructors. Call outside an execution.
  static std::variant<std::unique_ptr<Image>, LoadFailure> load(const std::string& path,
                                                                const LoadOptions& options = {});
  // Unloads. REQUIRES: no thread is in its code. Under AddressSanitizer the memory stays mapped until the process ends.
  // Without it, not while libFuzzer runs, which goes on reading the module's counters.
  ~Image();
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  const std::string& path() const { return path_; }
  void* entry() const { return entry_; }
  void* unload() const { return unload_; }  // nullptr if LoadOptions named none
  // What the module exports under this name; nullptr if nothing.
  void* symbol(const char* name) const;

  // Restores all variables and undoes poison().
  void reset();
  // From here on AddressSanitizer reports any access to the module's variables. Does nothing in other builds.
  void poison();
  void unpoison();

  bool contains_code(std::uintptr_t address) const { return text_.contains(address); }
  bool contains_data(std::uintptr_t address) const { return data_.contains(address); }
  // Addresses in this process.
  const AddressRange& text() const { return text_; }
  const AddressRange& data() const { return data_; }
  // What to subtract from an address in this process to get one in the file.
  std::uintptr_t load_address() const { return load_address_; }

 private:
  struct Variables {
    AddressRange range;
    std::vector<char> initial;
    std::vector<std::uint8_t> shadow;  // AddressSanitizer's, of the whole range
  };

  Image() = default;
  bool open(std::string_view contents, std::string& error);
  void take_snapshot(const ElfFile& file);

  std::string path_;
  int file_ = -1;  // the copy that is loaded
  void* handle_ = nullptr;
  void* entry_ = nullptr;
  void* unload_ = nullptr;
  std::uintptr_t load_address_ = 0;
  AddressRange text_;
  AddressRange data_;
  std::vector<Variables> variables_;
  bool poisoned_ = false;
};

}  // namespace nmrfuzz::module
