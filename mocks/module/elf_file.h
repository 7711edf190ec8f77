// elf_file.h - what the loader of modules has to know of a shared object before the dynamic linker sees it.
//
// Reads x86-64 ELF with section headers, as our own linking step makes it. Every offset is checked, so a truncated or
// foreign file is an error, not a fault.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nmrfuzz::module {

// Addresses relative to the load address, [begin, end).
struct AddressRange {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;

  bool contains(std::uintptr_t address) const { return address >= begin && address < end; }
  bool empty() const { return begin >= end; }
  std::size_t size() const { return end - begin; }
};

struct ElfFile {
  std::vector<std::string> undefined;   // symbols that somebody else must define; weak ones are left out
  std::vector<std::string> defined;     // symbols that others may look up
  AddressRange text;                    // everything executable
  AddressRange data;                    // everything writable after loading
  std::vector<AddressRange> variables;  // the parts of `data` that hold the module's own variables, in order
};

// nullopt if `contents` is not a whole x86-64 shared object; `error` then says why.
std::optional<ElfFile> parse_elf(std::string_view contents, std::string& error);

}  // namespace nmrfuzz::module
