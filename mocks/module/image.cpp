#include "module/image.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "module/files.h"
#include "module/raw_memory.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NMRFUZZ_IMAGE_ASAN 1
#include <sanitizer/asan_interface.h>
#endif
#endif

namespace nmrfuzz::module {

namespace {

using Failure = LoadFailure;

// Shadow bytes of a range, which starts and ends at multiples of a granule. Without AddressSanitizer there are none.
struct Shadow {
  std::uint8_t* bytes = nullptr;
  std::size_t size = 0;
};

Shadow shadow_of([[maybe_unused]] const AddressRange& range) {
#if defined(NMRFUZZ_IMAGE_ASAN)
  std::size_t scale = 0;
  std::size_t offset = 0;
  __asan_get_shadow_mapping(&scale, &offset);
  // Bytes of a granule that are not ours may belong to a table of the sanitizer: leave it out.
  const std::size_t granule = std::size_t{1} << scale;
  const std::uintptr_t begin = (range.begin + granule - 1) / granule;
  const std::uintptr_t end = range.end / granule;
  if (begin < end) {
    return {reinterpret_cast<std::uint8_t*>(begin + offset), end - begin};
  }
#endif
  return {};
}

Failure unusable(const std::string& path, const std::string& why) {
  return {LoadFailureKind::kUnusableFile, path + ": " + why, {}};
}

bool has(const std::vector<std::string>& sorted, const std::string& name) {
  return std::binary_search(sorted.begin(), sorted.end(), name);
}

Failure no_routine(const std::string& path, const ElfFile& file, const std::string& name) {
  std::string message = path + ": no routine " + name;
  const std::string mangled = "_Z" + std::to_string(name.size()) + name;
  for (const std::string& symbol : file.defined) {
    if (symbol.starts_with(mangled)) {
      message += R"(; there is a C++ function of that name: declare it extern "C")";
      break;
    }
  }
  return {LoadFailureKind::kNoEntry, message, {}};
}

std::vector<std::string> unresolved(const ElfFile& file) {
  std::vector<std::string> symbols;
  for (const std::string& name : file.undefined) {
    if (dlsym(RTLD_DEFAULT, name.c_str()) == nullptr) {
      symbols.push_back(name);
    }
  }
  return symbols;
}

Failure undefined_symbols(const std::string& path, std::vector<std::string> symbols) {
  std::string message = path + ": calls what neither it nor the simulated kernel defines:";
  for (const std::string& symbol : symbols) {
    message += " " + symbol;
  }
  return {LoadFailureKind::kUndefinedSymbols, message, std::move(symbols)};
}

}  // namespace

std::variant<std::unique_ptr<Image>, LoadFailure> Image::load(const std::string& path, const LoadOptions& options) {
  const std::optional<std::string> contents = read_file(path);
  if (!contents) {
    return unusable(path, last_error());
  }
  std::string error;
  const std::optional<ElfFile> file = parse_elf(*contents, error);
  if (!file) {
    return unusable(path, error);
  }
  for (const std::string& name : {options.entry, options.unload}) {
    if (!name.empty() && !has(file->defined, name)) {
      return no_routine(path, *file, name);
    }
  }
  if (std::vector<std::string> symbols = unresolved(*file); !symbols.empty()) {
    return undefined_symbols(path, std::move(symbols));
  }
  std::unique_ptr<Image> image(new Image);
  image->path_ = path;
  if (!image->open(*contents, error)) {
    return Failure{LoadFailureKind::kRefused, path + ": " + error, {}};
  }
  image->entry_ = image->symbol(options.entry.c_str());
  image->unload_ = options.unload.empty() ? nullptr : image->symbol(options.unload.c_str());
  image->take_snapshot(*file);
  return image;
}

// The dynamic linker loads a file once, however often it is asked: give it a new file.
bool Image::open(std::string_view contents, std::string& error) {
  file_ = memfd_create("nmrfuzz-module", MFD_CLOEXEC);
  while (file_ >= 0 && !contents.empty()) {
    const ssize_t written = write(file_, contents.data(), contents.size());
    if (written <= 0) {
      break;
    }
    contents.remove_prefix(static_cast<std::size_t>(written));
  }
  if (file_ < 0 || !contents.empty()) {
    error = "cannot make a copy to load: " + last_error();
    return false;
  }
  // By process id, not "self": symbolizers are other processes.
  const std::string copy = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(file_);
  handle_ = dlopen(copy.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ == nullptr) {
    error = dlerror();
    return false;
  }
  struct link_map* map = nullptr;
  dlinfo(handle_, RTLD_DI_LINKMAP, static_cast<void*>(&map));
  load_address_ = map->l_addr;
  return true;
}

void Image::take_snapshot(const ElfFile& file) {
  const auto here = [this](const AddressRange& range) {
    return AddressRange{range.begin + load_address_, range.end + load_address_};
  };
  text_ = here(file.text);
  data_ = here(file.data);
  for (const AddressRange& range : file.variables) {
    Variables& variables = variables_.emplace_back();
    variables.range = here(range);
    variables.initial.resize(range.size());
    raw_copy(variables.initial.data(), reinterpret_cast<const void*>(variables.range.begin), range.size());
    const Shadow shadow = shadow_of(variables.range);
    variables.shadow.resize(shadow.size);
    raw_copy(variables.shadow.data(), shadow.bytes, shadow.size);
  }
}

Image::~Image() {
  unpoison();
#if defined(NMRFUZZ_IMAGE_ASAN)
  // AddressSanitizer keeps pointers into the tables of every module that was ever loaded, and follows them when it
  // describes a bad address: the image stays mapped. So its file stays open too, or the name would be used again.
  if (handle_ != nullptr) {
    return;
  }
#endif
  if (handle_ != nullptr) {
    dlclose(handle_);
  }
  if (file_ >= 0) {
    close(file_);
  }
}

void* Image::symbol(const char* name) const { return dlsym(handle_, name); }

void Image::reset() {
  unpoison();
  for (const Variables& variables : variables_) {
    raw_copy(reinterpret_cast<void*>(variables.range.begin), variables.initial.data(), variables.initial.size());
  }
}

void Image::poison() {
  constexpr std::uint8_t kUserPoisoned = 0xf7;  // AddressSanitizer says "use-after-poison"
  for (const Variables& variables : variables_) {
    const Shadow shadow = shadow_of(variables.range);
    raw_fill(shadow.bytes, kUserPoisoned, shadow.size);
  }
  poisoned_ = true;
}

void Image::unpoison() {
  if (!poisoned_) {
    return;
  }
  for (const Variables& variables : variables_) {
    raw_copy(shadow_of(variables.range).bytes, variables.shadow.data(), variables.shadow.size());
  }
  poisoned_ = false;
}

}  // namespace nmrfuzz::module
