#include "module/elf_file.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <limits>

namespace nmrfuzz::module {

namespace {

constexpr std::uintptr_t kPage = 4096;

class Reader {
 public:
  explicit Reader(std::string_view contents) : contents_(contents) {}

  std::optional<ElfFile> parse(std::string& error);

 private:
  // Copies a record from the file, which aligns nothing. False if it is not all there.
  template <class Record>
  bool get(std::uint64_t offset, Record& record) const {
    if (offset > contents_.size() || contents_.size() - offset < sizeof record) {
      return false;
    }
    std::memcpy(&record, contents_.data() + offset, sizeof record);
    return true;
  }
  // The string at `offset` of a string table; nullopt if it runs out of the file.
  std::optional<std::string_view> text_at(const Elf64_Shdr& table, std::uint64_t offset) const {
    if (table.sh_offset > contents_.size() || offset > contents_.size() - table.sh_offset) {
      return std::nullopt;
    }
    const std::string_view rest = contents_.substr(table.sh_offset + offset);
    const std::size_t length = rest.find('\0');
    return length == std::string_view::npos ? std::nullopt : std::optional(rest.substr(0, length));
  }
  bool read_headers();
  bool read_segments();
  bool read_symbols(const Elf64_Shdr& section);
  bool read_sections();
  void add_variables(const Elf64_Shdr& section, std::string_view name);

  std::string_view contents_;
  Elf64_Ehdr header_{};
  std::vector<Elf64_Shdr> sections_;
  AddressRange relro_;
  ElfFile file_;
};

bool Reader::read_headers() {
  constexpr std::string_view kMagic =
      "\x7f"
      "ELF";
  if (!get(0, header_) || contents_.substr(0, kMagic.size()) != kMagic || header_.e_ident[EI_CLASS] != ELFCLASS64 ||
      header_.e_machine != EM_X86_64 || header_.e_type != ET_DYN || header_.e_phentsize != sizeof(Elf64_Phdr) ||
      header_.e_shentsize != sizeof(Elf64_Shdr)) {
    return false;
  }
  for (std::uint64_t i = 0; i < header_.e_shnum; ++i) {
    Elf64_Shdr section;
    if (!get(header_.e_shoff + i * sizeof section, section)) {
      return false;
    }
    sections_.push_back(section);
  }
  return header_.e_shstrndx < sections_.size();
}

void extend(AddressRange& range, std::uintptr_t begin, std::uintptr_t end) {
  range =
      range.empty() ? AddressRange{begin, end} : AddressRange{std::min(range.begin, begin), std::max(range.end, end)};
}

bool Reader::read_segments() {
  for (std::uint64_t i = 0; i < header_.e_phnum; ++i) {
    Elf64_Phdr segment;
    if (!get(header_.e_phoff + i * sizeof segment, segment)) {
      return false;
    }
    const std::uintptr_t begin = segment.p_vaddr;
    const std::uintptr_t end = begin + segment.p_memsz;
    if (segment.p_type == PT_GNU_RELRO) {
      relro_ = {begin, (end + kPage - 1) / kPage * kPage};  // the dynamic linker protects whole pages
    } else if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) != 0) {
      extend(file_.text, begin, end);
    } else if (segment.p_type == PT_LOAD && (segment.p_flags & PF_W) != 0) {
      extend(file_.data, begin, end);
    }
  }
  if (relro_.contains(file_.data.begin)) {
    file_.data.begin = std::min(relro_.end, file_.data.end);
  }
  return !file_.text.empty();
}

bool Reader::read_symbols(const Elf64_Shdr& section) {
  if (section.sh_link >= sections_.size()) {
    return false;
  }
  const Elf64_Shdr& names = sections_[section.sh_link];
  for (std::uint64_t offset = sizeof(Elf64_Sym); offset + sizeof(Elf64_Sym) <= section.sh_size;
       offset += sizeof(Elf64_Sym)) {
    Elf64_Sym symbol;
    if (!get(section.sh_offset + offset, symbol)) {
      return false;
    }
    const auto name = text_at(names, symbol.st_name);
    if (!name) {
      return false;
    }
    if (symbol.st_shndx != SHN_UNDEF) {
      file_.defined.emplace_back(*name);
    } else if (ELF64_ST_BIND(symbol.st_info) != STB_WEAK) {
      file_.undefined.emplace_back(*name);
    }
  }
  return true;
}

// Coverage counters must keep what an execution counted, and the tables that the sanitizers registered are theirs.
bool belongs_to_tools(std::string_view section) {
  return section.starts_with("__sancov") || section == "asan_globals" || section.starts_with("__llvm_prf");
}

void Reader::add_variables(const Elf64_Shdr& section, std::string_view name) {
  constexpr std::uint64_t kWanted = SHF_ALLOC | SHF_WRITE;
  if ((section.sh_flags & kWanted) != kWanted || (section.sh_flags & SHF_TLS) != 0 || belongs_to_tools(name)) {
    return;
  }
  const AddressRange range = {std::max(section.sh_addr, file_.data.begin),
                              std::min(section.sh_addr + section.sh_size, file_.data.end)};
  if (!range.empty()) {
    file_.variables.push_back(range);
  }
}

bool Reader::read_sections() {
  for (const Elf64_Shdr& section : sections_) {
    const auto name = text_at(sections_[header_.e_shstrndx], section.sh_name);
    if (!name || (section.sh_type == SHT_DYNSYM && !read_symbols(section))) {
      return false;
    }
    add_variables(section, *name);
  }
  std::sort(file_.variables.begin(), file_.variables.end(),
            [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
  std::sort(file_.undefined.begin(), file_.undefined.end());
  std::sort(file_.defined.begin(), file_.defined.end());
  return true;
}

std::optional<ElfFile> Reader::parse(std::string& error) {
  if (!read_headers()) {
    error = "not a whole x86-64 shared object";
    return std::nullopt;
  }
  if (!read_segments() || !read_sections()) {
    error = "a shared object with damaged tables";
    return std::nullopt;
  }
  return std::move(file_);
}

}  // namespace

std::optional<ElfFile> parse_elf(std::string_view contents, std::string& error) {
  return Reader(contents).parse(error);
}

}  // namespace nmrfuzz::module
