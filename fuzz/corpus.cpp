#include "fuzz/corpus.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <string_view>

#include "fuzz/words.h"
#include "module/files.h"
#include "nmrfuzz_config.h"

namespace nmrfuzz::fuzz {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kFirstLine = "// nmrfuzz: module";

bool is_source(const fs::path& path) { return path.extension() == ".c" || path.extension() == ".cpp"; }

// Fills in what the head of one source says.
class Head {
 public:
  Head(CorpusModule& module, const std::string& file) : module_(module), file_(file) {}

  bool read(std::string& error) {
    const bool good = parse();
    error = error_;
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

  bool value(const std::string& key, const std::string& text) {
    if (key == "summary") {
      module_.summary = text;
    } else if (key == "provides") {
      return count(text, module_.provides);
    } else if (key == "consumes") {
      return count(text, module_.consumes);
    } else if (key == "expect") {
      return expected(text);
    } else if (key == "rule") {
      module_.rules = list(text);
    } else if (key == "needs") {
      module_.needs = text;
    } else if (key == "interleaving") {
      module_.interleaving = text == "yes";
      return text == "yes" || text == "no" || fail(fmt::format("interleaving '{}', expected yes or no", text));
    } else if (key == "hardness") {
      module_.hardness = text;
    } else {
      return fail(fmt::format("unknown key '{}'", key));
    }
    return true;
  }

  bool count(const std::string& text, std::uint32_t& out) {
    const auto number = parse_number(text);
    out = static_cast<std::uint32_t>(number.value_or(0));
    return (number && *number <= std::numeric_limits<std::uint32_t>::max()) ||
           fail(fmt::format("'{}', expected a number", text));
  }

  bool expected(const std::string& text) {
    for (const std::string& name : list(text)) {
      const auto kind = contract::kind_of_name(name);
      if (!kind) {
        return fail(fmt::format("'{}' is no kind of finding", name));
      }
      module_.expected.push_back(*kind);
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

  CorpusModule& module_;
  const std::string& file_;
  std::size_t line_ = 1;
  std::string error_;
};

// The module that a file or folder of the corpus is; nullopt without an error if it is none.
std::optional<CorpusModule> module_at(const fs::path& path, std::string& error) {
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
    return std::nullopt;
  }
  return Head(module, head).read(error) ? std::optional(std::move(module)) : std::nullopt;
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
      if (auto module = module_at(entry.path(), error)) {
        modules.push_back(std::move(*module));
      } else if (!error.empty()) {
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
