#include "fuzz/module_set.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "fuzz/corpus.h"
#include "fuzz/words.h"
#include "module/artifact.h"
#include "module/compile.h"
#include "module/content_hash.h"

namespace nmrfuzz::fuzz {

namespace fs = std::filesystem;

namespace {

bool is_source_name(const std::string& name) {
  const std::string extension = fs::path(name).extension();
  return extension == ".c" || extension == ".cc" || extension == ".cpp" || extension == ".cxx";
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// As it is, or in `folder` if only that exists.
std::string locate(const std::string& path, const std::string& folder) {
  const fs::path beside = fs::path(folder) / path;
  return !folder.empty() && !is_there(path) && is_there(beside) ? beside.string() : path;
}

std::string no_such_module(const std::string& name, const std::vector<CorpusModule>& corpus) {
  std::vector<std::string> known;
  known.reserve(corpus.size());
  for (const CorpusModule& module : corpus) {
    known.push_back(module.name);
  }
  return fmt::format(
      "no module '{}'{}{}\nexpected a corpus module (`nmrfuzz list` shows them), a .c or .cpp file (several of one "
      "driver: a.c+b.c), or a folder NAME.nmr",
      name, is_there(name) ? ": it exists, but is none of these" : "", suggestion(name, known));
}

std::string names_of(std::span<const ModuleReference> modules) {
  std::vector<std::string> names;
  names.reserve(modules.size());
  for (const ModuleReference& module : modules) {
    names.push_back(module.name);
  }
  return join(names, ", ");
}

class Resolver {
 public:
  Resolver(std::span<const module::Variant> variants, const std::string& folder, std::string& error)
      : variants_(variants), folder_(folder), error_(error) {}

  bool resolve(const ModuleReference& reference) {
    ModuleUnderTest module;
    module.reference = reference;
    const std::string& name = reference.name;
    if (fs::path(trimmed(name)).extension() == ".nmr") {
      return open_artifact(module);
    }
    if (name.find('+') != std::string::npos || is_source_name(name)) {
      std::vector<std::string> sources = split(name, '+');
      for (std::string& source : sources) {
        source = locate(source, folder_);
      }
      module.name = fs::path(sources.front()).stem();
      return compile(module, std::move(sources), {});
    }
    return compile_of_corpus(module);
  }

  ModuleSet finish() {
    module::ContentHash hash;
    for (const std::uint64_t each : hashes_) {
      hash.add(each);
    }
    set_.source_hash = hashes_.size() == 1 ? hashes_.front() : hash.value();
    return std::move(set_);
  }

 private:
  static std::string trimmed(std::string name) {
    while (name.size() > 1 && name.ends_with('/')) {
      name.pop_back();
    }
    return name;
  }

  bool compile_of_corpus(ModuleUnderTest& module) {
    std::string unreadable;
    auto corpus = read_corpus(corpus_folder(), unreadable);
    if (!corpus) {
      error_ = no_such_module(module.reference.name, {}) + "\n" + unreadable;
      return false;
    }
    for (CorpusModule& known : *corpus) {
      if (known.name == module.reference.name) {
        module.name = known.name;
        return compile(module, std::move(known.sources), std::move(known.options));
      }
    }
    error_ = no_such_module(module.reference.name, *corpus);
    return false;
  }

  // `options`: those that the module always has, before the user's.
  bool compile(ModuleUnderTest& module, std::vector<std::string> sources, std::vector<std::string> options) {
    module::BuildRequest request;
    request.sources = std::move(sources);
    request.options = std::move(options);
    request.options.insert(request.options.end(), module.reference.options.begin(), module.reference.options.end());
    request.variants.assign(variants_.begin(), variants_.end());
    const auto built = module::build(request);
    if (const auto* failure = std::get_if<module::BuildFailure>(&built)) {
      error_ = failure->kind == module::BuildFailureKind::kCompileError
                   ? fmt::format("{} does not compile:\n{}", module.name, failure->message)
                   : failure->message;
      return false;
    }
    const auto& build = std::get<module::Build>(built);
    module.shared_objects = build.shared_objects;
    set_.diagnostics += build.diagnostics;
    return add(std::move(module), build.source_hash);
  }

  bool open_artifact(ModuleUnderTest& module) {
    const std::string path = locate(trimmed(module.reference.name), folder_);
    module.name = fs::path(path).stem();
    const auto opened = module::open_artifact(path);
    if (const auto* failure = std::get_if<module::ArtifactError>(&opened)) {
      error_ = failure->message;
      return false;
    }
    const auto& artifact = std::get<module::Artifact>(opened);
    for (const module::Variant variant : variants_) {
      if (artifact.shared_object(variant).empty()) {
        error_ = fmt::format("{}: has no {} build; make the folder again with nmrfuzz-cc", path, name_of(variant));
        return false;
      }
    }
    module.shared_objects = artifact.shared_objects;
    return add(std::move(module), artifact.source_hash);
  }

  bool add(ModuleUnderTest module, const std::string& source_hash) {
    hashes_.push_back(parse_hash(source_hash).value_or(0));
    set_.modules.push_back(std::move(module));
    return true;
  }

  std::span<const module::Variant> variants_;
  const std::string& folder_;
  std::string& error_;
  std::vector<std::uint64_t> hashes_;
  ModuleSet set_;
};

}  // namespace

std::vector<std::string> ModuleSet::names() const {
  std::vector<std::string> names;
  names.reserve(modules.size());
  for (const ModuleUnderTest& module : modules) {
    names.push_back(module.reference.name);
  }
  return names;
}

std::string ModuleSet::short_name() const {
  std::vector<std::string> names;
  names.reserve(modules.size());
  for (const ModuleUnderTest& module : modules) {
    names.push_back(module.name);
  }
  return join(names, "+");
}

std::vector<std::string> ModuleSet::images(module::Variant variant) const {
  std::vector<std::string> paths;
  paths.reserve(modules.size());
  for (const ModuleUnderTest& module : modules) {
    paths.push_back(module.shared_object(variant));
  }
  return paths;
}

std::optional<std::vector<ModuleReference>> replaced_modules(const Reproducer& reproducer,
                                                             std::span<const std::string> given, std::string& error) {
  if (given.size() > reproducer.modules.size()) {
    error = fmt::format("{} modules given to take the place of recorded ones, the reproducer has {}: {}", given.size(),
                        reproducer.modules.size(), names_of(reproducer.modules));
    return std::nullopt;
  }
  std::vector<ModuleReference> modules = reproducer.modules;
  for (std::size_t i = 0; i < given.size(); ++i) {
    modules[i].name = given[i];
  }
  return modules;
}

std::optional<ModuleSet> resolve_modules(std::span<const ModuleReference> references,
                                         std::span<const module::Variant> variants, const std::string& folder,
                                         std::string& error) {
  Resolver resolver(variants, folder, error);
  for (const ModuleReference& reference : references) {
    if (!resolver.resolve(reference)) {
      return std::nullopt;
    }
  }
  return resolver.finish();
}

}  // namespace nmrfuzz::fuzz
