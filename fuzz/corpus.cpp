#include "fuzz/corpus.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <limits>
#include <string_view>

#include "fuzz/words.h"
#include "module/files.h"
#include "nmrfuzz_config.h"

namespace nmrfuzz::fuzz {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kFirstLine = "// nmrfuzz: module";

constexpr std::string_view kHardnessForm = "17 schedules; 1000+ run to completion";

// nullopt if `text` does not have the form above; the plus sign may be missing.
std::optional<Hardness> hardness_of(std::string_view text) {
  constexpr std::string_view kBehindFirst = " schedules; ";
  constexpr std::string_view kBehindSecond = " run to completion";
  const std::size_t first_end = text.find(kBehindFirst);
  if (first_end == std::string_view::npos || !text.ends_with(kBehindSecond)) {
    return std::nullopt;
  }
  std::string_view second = text.substr(first_end + kBehindFirst.size());
  second.remove_suffix(std::min(second.size(), kBehindSecond.size()));
  const bool survives = second.ends_with('+');
  second.remove_suffix(survives ? 1 : 0);
  const auto schedules = parse_number(text.substr(0, first_end));
  const auto run_to_completion = parse_number(second);
  constexpr std::uint32_t kMost = std::numeric_limits<std::uint32_t>::max();
  if (!schedules || !run_to_completion || *schedules > kMost || *run_to_completion > kMost) {
    return std::nullopt;
  }
  return Hardness{static_cast<std::uint32_t>(*schedules), static_cast<std::uint32_t>(*run_to_completion), survives};
}

bool is_source(const fs::path& path) { return path.extension() == ".c" || path.extension() == ".cpp"; }

// Reads what the head of one source says: one module, or its variants.
class Head {
 public:
  // `common`: what all of them have.
  Head(CorpusModule common, const std::string& file) : common_(std::move(common)), file_(file) {}

  bool read(std::vector<CorpusModule>& modules, std::string& error) {
    const bool good = parse();
    error = error_;
    if (variants_.empty()) {
      variants_.push_back(std::move(common_));
    }
    std::move(variants_.begin(), variants_.end(), std::back_inserter(modules));
    return good;
  }

 private:
  bool fail(const std::string& what) {
    error_ = fmt::format("{}:{}: {}", file_, line_, what);
    return false;
  }

  bool parse() {
    line_ = 1;
    const std::optional<std::string> text = module::read_file(file_);
    if (!text) {
      return fail(module::last_error());
    }
    const std::vector<std::string> lines = split(*text, '\n');
    if (trim(lines.front()) != kFirstLine) {
      return fail(fmt::format("expected '{}'", kFirstLine));
    }
    for (line_ = 2; line_ <= lines.size() && lines[line_ - 1].starts_with("// "); ++line_) {
      const std::string_view line = std::string_view(lines[line_ - 1]).substr(3);
      const std::size_t colon = line.find(':');
      if (colon == std::string_view::npos) {
        return fail("expected '// key: value'");
      }
      if (!value(std::string(line.substr(0, colon)), std::string(trim(line.substr(colon + 1))))) {
        return false;
      }
    }
    return true;
  }

  // The module that a key is about.
  CorpusModule& current() { return variants_.empty() ? common_ : variants_.back(); }

  bool value(const std::string& key, const std::string& text) {
    CorpusModule& module = current();
    if (key == "variant") {
      return variant(text);
    }
    if (key == "summary") {
      module.summary = text;
    } else if (key == "provides") {
      return count(text, module.provides);
    } else if (key == "consumes") {
      return count(text, module.consumes);
    } else if (key == "expect") {
      return expected(text);
    } else if (key == "rule") {
      module.rules = list(text);
    } else if (key == "needs") {
      module.needs = text;
    } else if (key == "interleaving") {
      module.interleaving = text == "yes";
      return text == "yes" || text == "no" || fail(fmt::format("interleaving '{}', expected yes or no", text));
    } else if (key == "hardness") {
      module.hardness = hardness_of(text);
      return module.hardness || fail(fmt::format("hardness '{}', expected '{}'", text, kHardnessForm));
    } else {
      return fail(fmt::format("unknown key '{}'", key));
    }
    return true;
  }

  // Options are separated by blanks and hold none.
  bool variant(const std::string& text) {
    std::vector<std::string> words = split(text, ' ');
    std::erase(words, "");
    if (words.size() < 2) {
      return fail(fmt::format("variant '{}', expected a name and the compiler's options", text));
    }
    CorpusModule& added = variants_.emplace_back(common_);
    added.name = words.front();
    added.options.assign(words.begin() + 1, words.end());
    return true;
  }

  bool count(const std::string& text, std::uint32_t& out) {
    const auto number = parse_number(text);
    out = static_cast<std::uint32_t>(number.value_or(0));
    return (number && *number <= std::numeric_limits<std::uint32_t>::max()) ||
           fail(fmt::format("'{}', expected a number", text));
  }

  bool expected(const std::string& text) {
    std::vector<contract::FindingKind>& kinds = current().expected;
    kinds.clear();
    for (const std::string& name : list(text)) {
      const auto kind = contract::kind_of_name(name);
      if (!kind) {
        return fail(fmt::format("'{}' is no kind of finding", name));
      }
      kinds.push_back(*kind);
    }
    return true;
  }

  static std::vector<std::string> list(const std::string& text) {
    std::vector<std::string> items;
    if (text != "none") {
      for (const std::string& item : split(text, ',')) {
        items.emplace_back(trim(item));
      }
    }
    return items;
  }

  CorpusModule common_;
  std::vector<CorpusModule> variants_;
  const std::string& file_;
  std::size_t line_ = 1;
  std::string error_;
};

// Adds the modules that a file or folder of the corpus is, if it is any. False with an error if its head is wrong.
bool add_modules_at(const fs::path& path, std::vector<CorpusModule>& modules, std::string& error) {
  CorpusModule module;
  std::string head;
  if (fs::is_directory(path) && fs::exists(path / "driver.c")) {
    module.name = path.filename();
    module.sources = sources_in(path);
    head = path / "driver.c";
  } else if (fs::is_regular_file(path) && is_source(path)) {
    module.name = path.stem();
    module.sources = {path};
    head = path;
  } else {
    return true;
  }
  return Head(std::move(module), head).read(modules, error);
}

}  // namespace

std::string corpus_folder() {
  const char* const given = std::getenv("NMRFUZZ_CORPUS");
  return given != nullptr && *given != '\0' ? given : NMRFUZZ_SOURCE_DIR "/corpus/modules";
}

std::vector<std::string> sources_in(const std::string& folder) {
  std::vector<std::string> sources;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.is_regular_file(ignored) && is_source(entry.path())) {
      sources.push_back(entry.path());
    }
  }
  std::sort(sources.begin(), sources.end());
  return sources;
}

std::optional<std::vector<CorpusModule>> read_corpus(const std::string& folder, std::string& error) {
  std::vector<CorpusModule> modules;
  for (const char* part : {"correct", "planted"}) {
    std::error_code failed;
    for (const fs::directory_entry& entry : fs::directory_iterator(fs::path(folder) / part, failed)) {
      if (!add_modules_at(entry.path(), modules, error)) {
        return std::nullopt;
      }
    }
    if (failed) {
      error =
          fmt::format("{}/{}: {}; set NMRFUZZ_CORPUS to the folder with both parts", folder, part, failed.message());
      return std::nullopt;
    }
  }
  std::sort(modules.begin(), modules.end(),
            [](const CorpusModule& left, const CorpusModule& right) { return left.name < right.name; });
  return modules;
}

}  // namespace nmrfuzz::fuzz
