// cache.h - compiled modules by content: a folder that any number of runs may share at the same time.
//
//   REQUEST.deps      the files that a build of this request read, one a line
//   ENTRY/            a finished build: 0.bc, 1.bc, ... (one a source), diagnostics, plain.so, asan.so, ...
//   building-XXXXXX/  a build under way
// REQUEST names how a module is compiled (sources' paths, options, compiler), ENTRY that and the contents of every file
// read. An entry appears by one rename, complete; files added later appear by one rename each. Everything may be
// deleted at any time between runs. Known blind spot, as with other compile caches: a new header that hides an old one
// further down the search path. Thread safety: an object is used by one thread; several objects may use one folder.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace nmrfuzz::module {

// $NMRFUZZ_CACHE, else $XDG_CACHE_HOME/nmrfuzz, else $HOME/.cache/nmrfuzz, else a folder for this user in /tmp.
std::string default_cache_folder();

class Cache {
 public:
  explicit Cache(std::string folder) : folder_(std::move(folder)) {}

  const std::string& folder() const { return folder_; }

  // The files that an earlier build of this request read.
  std::optional<std::vector<std::string>> dependencies(const std::string& request) const;
  // False with errno set if the folder cannot be written.
  bool set_dependencies(const std::string& request, const std::vector<std::string>& paths) const;

  // Where the entry is or would be.
  std::string entry_path(const std::string& entry) const { return folder_ + "/" + entry; }
  bool has_entry(const std::string& entry) const;

  // An empty folder to build in, which the caller hands to publish() or discard(). nullopt with errno set if there can
  // be none.
  std::optional<std::string> begin_build() const;
  // The build becomes the entry, unless another run was faster; then it is thrown away. False with errno set on
  // failure.
  bool publish(const std::string& build, const std::string& entry) const;
  void discard(const std::string& build) const;

 private:
  void remove_abandoned_builds() const;

  std::string folder_;
};

}  // namespace nmrfuzz::module
