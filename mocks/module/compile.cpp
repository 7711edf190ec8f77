#include "module/compile.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <set>
#include <thread>

#include "module/compile_flags.h"
#include "module/content_hash.h"
#include "module/depfile.h"
#include "module/elf_file.h"
#include "module/files.h"
#include "module/process.h"
#include "nmrfuzz_config.h"

namespace nmrfuzz::module {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kFormatVersion = 1;  // of cache entries: raise it when the same request must be built anew

void append(Arguments& to, const Arguments& more) { to.insert(to.end(), more.begin(), more.end()); }

// Calls job(0) .. job(count - 1), several at a time.
void in_parallel(std::size_t count, const std::function<void(std::size_t)>& job) {
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      job(i);
    }
  };
  std::vector<std::thread> helpers;
  const std::size_t threads = std::min<std::size_t>(count, std::max(1U, std::thread::hardware_concurrency()));
  for (std::size_t i = 1; i < threads; ++i) {
    helpers.emplace_back(work);
  }
  work();
  for (std::thread& helper : helpers) {
    helper.join();
  }
}

// A file that the build read, and what was in it.
struct Dependency {
  std::string path;
  std::uint64_t low = 0;
  std::string hash;
  bool operator==(const Dependency&) const = default;
};

// nullopt if one of them cannot be read any more.
std::optional<std::vector<Dependency>> hash_all(const std::vector<std::string>& paths) {
  std::vector<Dependency> result;
  for (const std::string& path : paths) {
    const std::optional<std::string> contents = read_file(path);
    if (!contents) {
      return std::nullopt;
    }
    ContentHash hash;
    hash.add(*contents);
    result.push_back({path, hash.value(), hash.hex()});
  }
  return result;
}

class Builder {
 public:
  explicit Builder(const BuildRequest& request) : request_(request), cache_(request.cache) {}

  std::variant<Build, BuildFailure> run();

 private:
  // Each returns false after it has set failure_.
  bool check_sources();
  bool find_or_compile();
  bool compile_stable(const std::string& folder, std::vector<Dependency>& read);
  bool compile_sources(const std::string& folder);
  bool store(const std::string& folder, const std::vector<Dependency>& read);
  bool make_variant(Variant variant);
  bool link_variant(Variant variant, const std::string& folder);
  bool succeeded(const ProcessResult& result);

  std::string request_key() const;
  std::string entry_key(const std::vector<Dependency>& read) const;
  std::string source_hash(const std::vector<Dependency>& read) const;
  bool is_own(const std::string& path) const;
  Arguments compile_arguments(std::size_t source, const std::string& stem) const;
  bool fail(BuildFailureKind kind, const std::string& message);
  bool fail_to_start(int error) {
    errno = error;
    return fail(BuildFailureKind::kNoTool, "cannot run the compiler " + request_.toolchain.clang + ": " + last_error() +
                                               "; install the package clang-19");
  }
  bool fail_cache() {
    return fail(BuildFailureKind::kNoCache, "cannot write the compile cache " + cache_.folder() + ": " + last_error() +
                                                "; set NMRFUZZ_CACHE to a folder that can be written");
  }

  const BuildRequest& request_;
  const Cache cache_;
  std::string request_key_;
  std::string entry_;
  std::vector<std::string> read_paths_;  // by the last compilation
  std::string said_;                     // by the last compilation
  Build build_;
  BuildFailure failure_{};
};

bool Builder::fail(BuildFailureKind kind, const std::string& message) {
  failure_ = {kind, message};
  while (failure_.message.ends_with('\n')) {
    failure_.message.pop_back();
  }
  return false;
}

bool Builder::check_sources() {
  if (request_.sources.empty()) {
    return fail(BuildFailureKind::kNoSource, "no source file given");
  }
  for (const std::string& source : request_.sources) {
    if (language_of(source) == Language::kNone) {
      return fail(BuildFailureKind::kNoSource, source + ": not a C or C++ source (.c, .cc, .cpp, .cxx)");
    }
    if (!read_file(source)) {
      return fail(BuildFailureKind::kNoSource, source + ": " + last_error());
    }
  }
  return true;
}

void add_all(ContentHash& hash, const Arguments& arguments) {
  for (const std::string& argument : arguments) {
    hash.add(argument);
  }
}

// Everything that decides how the compiler reads the sources, apart from contents.
std::string Builder::request_key() const {
  ContentHash hash;
  hash.add(kFormatVersion);
  std::error_code ignored;
  hash.add(fs::current_path(ignored).string());
  struct stat compiler = {};
  stat(request_.toolchain.clang.c_str(), &compiler);
  hash.add(request_.toolchain.clang);
  hash.add(static_cast<std::uint64_t>(compiler.st_size));
  hash.add(static_cast<std::uint64_t>(compiler.st_mtim.tv_sec));
  for (const char* name : {"CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH"}) {
    const char* const value = std::getenv(name);
    hash.add(std::string_view(value == nullptr ? "" : value));
  }
  for (std::size_t i = 0; i < request_.sources.size(); ++i) {
    add_all(hash, compile_arguments(i, ""));
  }
  for (const Variant variant : kAllVariants) {
    add_all(hash, object_flags(variant));
  }
  add_all(hash, link_flags());
  return hash.hex();
}

std::string Builder::entry_key(const std::vector<Dependency>& read) const {
  ContentHash hash;
  hash.add(request_key_);
  for (const Dependency& dependency : read) {
    hash.add(dependency.path);
    hash.add(dependency.hash);
  }
  return hash.hex();
}

// The dependency lists leave out a leading "./".
std::string normal(const std::string& path) { return fs::path(path).lexically_normal(); }

// A file of the module, not of the WDK or of the system.
bool Builder::is_own(const std::string& path) const {
  static const std::string compiler = fs::path(NMRFUZZ_LLVM_BINDIR).parent_path();
  const std::string where = normal(path);
  const auto in = [&](const std::string& folder) { return where.starts_with(folder + "/"); };
  return !in(normal(request_.toolchain.headers)) && !in(compiler) && !in("/usr/include") && !in("/usr/lib");
}

std::string Builder::source_hash(const std::vector<Dependency>& read) const {
  std::set<std::string> sources;
  for (const std::string& source : request_.sources) {
    sources.insert(normal(source));
  }
  ContentHash hash;
  std::vector<std::uint64_t> headers;
  for (const Dependency& dependency : read) {
    if (sources.contains(normal(dependency.path))) {
      hash.add(dependency.low);
    } else if (is_own(dependency.path)) {
      headers.push_back(dependency.low);
    }
  }
  std::sort(headers.begin(), headers.end());
  for (const std::uint64_t header : headers) {
    hash.add(header);
  }
  return ContentHash::hex_of(hash.value());
}

// `stem`: of the files that are made, without extension.
Arguments Builder::compile_arguments(std::size_t source, const std::string& stem) const {
  const std::string& path = request_.sources[source];
  Arguments arguments = {request_.toolchain.clang};
  append(arguments, bitcode_flags(language_of(path)));
  append(arguments, request_.options);
  append(arguments, {"-isystem", request_.toolchain.headers, "-MD", "-MT", "x", "-MF", stem + ".d", "-emit-llvm", "-c",
                     "-o", stem + ".bc", "--", path});
  return arguments;
}

bool Builder::compile_sources(const std::string& folder) {
  struct Job {
    ProcessResult result;
    std::vector<std::string> read;
  };
  std::vector<Job> jobs(request_.sources.size());
  in_parallel(jobs.size(), [&](std::size_t i) {
    const std::string stem = folder + "/" + std::to_string(i);
    jobs[i].result = run_process(compile_arguments(i, stem));
    if (jobs[i].result.ok()) {
      jobs[i].read = parse_depfile(read_file(stem + ".d").value_or(""));
      unlink((stem + ".d").c_str());
    }
  });
  std::set<std::string> seen;
  read_paths_.clear();
  said_.clear();
  bool compiled = true;
  for (const Job& job : jobs) {
    if (job.result.start_error != 0) {
      return fail_to_start(job.result.start_error);
    }
    compiled = compiled && job.result.ok();
    said_ += job.result.output;
    for (const std::string& path : job.read) {
      if (seen.insert(path).second) {
        read_paths_.push_back(path);
      }
    }
  }
  return compiled || fail(BuildFailureKind::kCompileError, said_);
}

bool modified_since(const std::vector<std::string>& paths, const struct timespec& moment) {
  return std::any_of(paths.begin(), paths.end(), [&](const std::string& path) {
    struct stat status = {};
    stat(path.c_str(), &status);
    const struct timespec& written = status.st_mtim;
    return written.tv_sec > moment.tv_sec || (written.tv_sec == moment.tv_sec && written.tv_nsec >= moment.tv_nsec);
  });
}

// Compiles until the files read were the same before and after: what is cached under their contents came from them.
bool Builder::compile_stable(const std::string& folder, std::vector<Dependency>& read) {
  constexpr int kAttempts = 4;
  std::optional<std::vector<Dependency>> before;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    struct timespec start = {};
    clock_gettime(CLOCK_REALTIME_COARSE, &start);  // the clock that file systems use
    if (!compile_sources(folder)) {
      return false;
    }
    std::optional<std::vector<Dependency>> after = hash_all(read_paths_);
    if (after && (!modified_since(read_paths_, start) || before == after)) {
      read = std::move(*after);
      return true;
    }
    before = std::move(after);
  }
  return fail(BuildFailureKind::kSourcesChange,
              request_.sources.front() + ": it, or a file that it includes, changes while it is compiled; try again");
}

bool Builder::store(const std::string& folder, const std::vector<Dependency>& read) {
  entry_ = entry_key(read);
  return (write_file(folder + "/diagnostics", said_) && cache_.set_dependencies(request_key_, read_paths_) &&
          cache_.publish(folder, entry_)) ||
         fail_cache();
}

// Afterwards entry_ names an entry with the bitcode of every source.
bool Builder::find_or_compile() {
  request_key_ = request_key();
  std::vector<Dependency> read;
  if (const auto paths = cache_.dependencies(request_key_)) {
    if (auto found = hash_all(*paths)) {
      read = std::move(*found);
      entry_ = entry_key(read);
    }
  }
  if (entry_.empty() || !cache_.has_entry(entry_)) {
    const std::optional<std::string> folder = cache_.begin_build();
    if (!folder) {
      return fail_cache();
    }
    if (!compile_stable(*folder, read) || !store(*folder, read)) {
      cache_.discard(*folder);
      return false;
    }
    build_.compiled = true;
  }
  build_.source_hash = source_hash(read);
  build_.diagnostics = read_file(cache_.entry_path(entry_) + "/diagnostics").value_or("");
  return true;
}

bool Builder::succeeded(const ProcessResult& result) {
  if (result.start_error != 0) {
    return fail_to_start(result.start_error);
  }
  return result.ok() || fail(BuildFailureKind::kCompileError, result.output);
}

bool is_whole(const std::string& shared_object) {
  std::string ignored;
  const std::optional<std::string> contents = read_file(shared_object);
  return contents && parse_elf(*contents, ignored).has_value();
}

// Makes FOLDER/so from the entry's bitcode.
bool Builder::link_variant(Variant variant, const std::string& folder) {
  std::vector<ProcessResult> compiled(request_.sources.size());
  Arguments link = {request_.toolchain.clang};
  append(link, link_flags());
  append(link, {"-o", folder + "/so"});
  for (std::size_t i = 0; i < compiled.size(); ++i) {
    link.push_back(folder + "/" + std::to_string(i) + ".o");
  }
  in_parallel(compiled.size(), [&](std::size_t i) {
    const std::string stem = "/" + std::to_string(i);
    Arguments compile = {request_.toolchain.clang};
    append(compile, object_flags(variant));
    append(compile, {"-c", cache_.entry_path(entry_) + stem + ".bc", "-o", folder + stem + ".o"});
    compiled[i] = run_process(compile);
  });
  return std::all_of(compiled.begin(), compiled.end(),
                     [&](const ProcessResult& result) { return succeeded(result); }) &&
         succeeded(run_process(link));
}

bool Builder::make_variant(Variant variant) {
  const std::string entry = cache_.entry_path(entry_);
  const std::string path = entry + "/" + std::string(name_of(variant)) + ".so";
  if (!is_whole(path)) {
    const std::optional<std::string> folder = cache_.begin_build();
    if (!folder) {
      return fail_cache();
    }
    const bool made =
        link_variant(variant, *folder) && (std::rename((*folder + "/so").c_str(), path.c_str()) == 0 || fail_cache());
    cache_.discard(*folder);
    if (!made) {
      return false;
    }
    build_.compiled = true;
  }
  build_.shared_objects[static_cast<std::size_t>(variant)] = path;
  return true;
}

std::variant<Build, BuildFailure> Builder::run() {
  if (!check_sources() || !find_or_compile()) {
    return failure_;
  }
  for (const Variant variant : request_.variants) {
    if (!make_variant(variant)) {
      return failure_;
    }
  }
  return build_;
}

}  // namespace

Toolchain::Toolchain() : clang(NMRFUZZ_CLANG), headers(NMRFUZZ_SOURCE_DIR "/mocks/include") {}

std::variant<Build, BuildFailure> build(const BuildRequest& request) { return Builder(request).run(); }

}  // namespace nmrfuzz::module
