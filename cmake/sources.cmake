# Which file belongs to what, by its name.

# Sets OUT to the .cpp files that match the globs and are neither test, fuzzer, benchmark nor a main program.
function(nmrfuzz_library_sources out)
  file(GLOB_RECURSE found CONFIGURE_DEPENDS ${ARGN})
  list(FILTER found EXCLUDE REGEX "(_test|_fuzzer|_benchmark|/main|/cc_main)\\.cpp$")
  foreach(source IN LISTS found)
    if(source MATCHES "_uninstrumented\\.cpp$")
      set_property(SOURCE ${source} PROPERTY COMPILE_OPTIONS -fno-sanitize=all)
    endif()
  endforeach()
  set(${out} ${found} PARENT_SCOPE)
endfunction()

set(NMRFUZZ_MOCK_FOLDERS trace schedule kernel race nmr peers contract module)
list(TRANSFORM NMRFUZZ_MOCK_FOLDERS REPLACE "(.+)" "${PROJECT_SOURCE_DIR}/mocks/\\1/*.cpp" OUTPUT_VARIABLE mock_globs)
nmrfuzz_library_sources(NMRFUZZ_MOCKS_SOURCES ${mock_globs})
nmrfuzz_library_sources(NMRFUZZ_FUZZ_SOURCES "${PROJECT_SOURCE_DIR}/fuzz/*.cpp")
nmrfuzz_library_sources(NMRFUZZ_STRESS_SOURCES "${PROJECT_SOURCE_DIR}/stress/*.cpp")
file(GLOB NMRFUZZ_BENCHMARK_SOURCES CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/stress/*_benchmark.cpp")
file(GLOB NMRFUZZ_FUZZER_SOURCES CONFIGURE_DEPENDS
  "${PROJECT_SOURCE_DIR}/fuzz/*_fuzzer.cpp" "${PROJECT_SOURCE_DIR}/mocks/nmr/*_fuzzer.cpp")
# Globs although each is one file: CMake then notices when it appears.
file(GLOB NMRFUZZ_MAIN_SOURCE CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/fuzz/main.cpp")
file(GLOB NMRFUZZ_CC_MAIN_SOURCE CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/fuzz/cc_main.cpp")
