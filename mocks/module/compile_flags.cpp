#include "module/compile_flags.h"

#include <filesystem>

namespace nmrfuzz::module {

Language language_of(const std::string& source) {
  const std::string extension = std::filesystem::path(source).extension();
  if (extension == ".c") {
    return Language::kC;
  }
  return extension == ".cc" || extension == ".cpp" || extension == ".cxx" ? Language::kCxx : Language::kNone;
}

Arguments bitcode_flags(Language language) {
  // clang-format off
  Arguments flags = {
      "-O1", "-g", "-fPIC", "-fno-plt", "-fdiagnostics-color=never", "-Qunused-arguments",
      // What MSVC takes for granted.
      "-fms-extensions", "-fshort-wchar", "-mms-bitfields", "-fno-strict-aliasing", "-fwrapv",
      "-fno-delete-null-pointer-checks", "-fno-stack-protector",
      // Stack walks follow frame pointers.
      "-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer", "-fno-optimize-sibling-calls",
      // Each access calls a function of ours (access_callbacks.cpp). Volatile ones have names of their own; of a read
      // and a write of one variable both call; the functions that a function is entered and left with are not wanted.
      "-fsanitize=thread", "-mllvm", "-tsan-distinguish-volatile=1", "-mllvm", "-tsan-instrument-read-before-write=1",
      "-mllvm", "-tsan-instrument-func-entry-exit=0", "-mllvm", "-tsan-handle-cxx-exceptions=0",
      // The kind of coverage counters that libFuzzer reads. They are not accesses.
      "-fsanitize-coverage=inline-8bit-counters,pc-table",
      // What drivers do and MSVC accepts.
      "-Wno-unknown-pragmas", "-Wno-pragma-pack", "-Wno-multichar", "-Wno-four-char-constants", "-Wno-missing-braces",
      "-Wno-missing-field-initializers", "-Wno-unused-function", "-Wno-format", "-Wno-ignored-attributes",
      "-Wno-microsoft", "-Wno-gnu-folding-constant"};
  const Arguments c = {
      "-std=gnu17", "-Werror=implicit-function-declaration", "-Wno-incompatible-function-pointer-types",
      "-Wno-incompatible-pointer-types", "-Wno-strict-prototypes", "-Wno-deprecated-non-prototype"};
  const Arguments cxx = {"-std=c++20", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"};
  // clang-format on
  const Arguments& more = language == Language::kC ? c : cxx;
  flags.insert(flags.end(), more.begin(), more.end());
  return flags;
}

Arguments object_flags(Variant variant) {
  Arguments flags = {"-O1", "-fPIC", "-fno-plt", "-Wno-override-module"};
  if (variant == Variant::kAsan) {
    // Without asan-opt-globals accesses to the module's own variables go unchecked where the compiler proves them in
    // bounds, and a dead module's late use of them would not be noticed.
    flags.insert(flags.end(), {"-fsanitize=address", "-mllvm", "-force-attribute=sanitize_address", "-mllvm",
                               "-asan-opt-globals=0"});
  } else if (variant == Variant::kTsan) {
    flags.insert(flags.end(), {"-fsanitize=thread", "-mllvm", "-force-attribute=sanitize_thread"});
  }
  return flags;
}

Arguments link_flags() { return {"-shared", "-fuse-ld=lld", "-Wl,-z,now,-z,relro,-Bsymbolic"}; }

}  // namespace nmrfuzz::module
