# A variant is the whole product under one set of sanitizer flags: libraries nmrfuzz_{mocks,fuzz,stress}_NAME and
# programs nmrfuzz-NAME, nmrfuzz-bench-NAME. The plain variant has no suffix, and has nmrfuzz-cc as well.

# `cmake --build build --target product`: all programs, no tests.
add_custom_target(product)

# nmrfuzz_add_libraries(SUFFIX VARIANT [SANITIZE list] [SANITIZE_LINK list] [OPTIONS ...] [DEFINES ...])
# Makes the interface library nmrfuzz_all_SUFFIX, which a program links. SANITIZE holds for compiling and linking,
# SANITIZE_LINK for linking only.
function(nmrfuzz_add_libraries suffix variant)
  cmake_parse_arguments(arg "" "SANITIZE;SANITIZE_LINK" "OPTIONS;DEFINES" ${ARGN})
  set(flags nmrfuzz_flags${suffix})
  set(all nmrfuzz_all${suffix})

  add_library(${flags} INTERFACE)
  target_link_libraries(${flags} INTERFACE nmrfuzz_options)
  target_compile_definitions(${flags} INTERFACE NMRFUZZ_VARIANT="${variant}" ${arg_DEFINES})
  if(arg_SANITIZE)
    target_compile_options(${flags} INTERFACE -fsanitize=${arg_SANITIZE} ${arg_OPTIONS})
    target_link_options(${flags} INTERFACE -fsanitize=${arg_SANITIZE})
  endif()
  if(arg_SANITIZE_LINK)
    target_link_options(${flags} INTERFACE -fsanitize=${arg_SANITIZE_LINK})
  endif()

  add_library(${all} INTERFACE)
  target_link_libraries(${all} INTERFACE ${flags})
  foreach(folder IN ITEMS MOCKS FUZZ STRESS)
    if(NOT NMRFUZZ_${folder}_SOURCES)
      continue()
    endif()
    string(TOLOWER "nmrfuzz_${folder}${suffix}" library)
    add_library(${library} STATIC ${NMRFUZZ_${folder}_SOURCES})
    target_link_libraries(${library} PUBLIC ${flags})
    nmrfuzz_hide_from_tools(${library} "${suffix}")
    if(folder STREQUAL "MOCKS")
      # Entire: a module that is loaded at run time may call any routine of the kernel.
      target_link_libraries(${all} INTERFACE "$<LINK_LIBRARY:WHOLE_ARCHIVE,${library}>")
    else()
      target_link_libraries(${all} INTERFACE ${library})
    endif()
  endforeach()
endfunction()

# clang-tidy and editors want each source once in compile_commands.json: as the plain variant compiles it.
function(nmrfuzz_hide_from_tools target suffix)
  if(suffix)
    set_target_properties(${target} PROPERTIES EXPORT_COMPILE_COMMANDS OFF)
  endif()
endfunction()

# nmrfuzz_add_program(NAME SUFFIX SOURCES...): a program that loads modules, over the libraries of that suffix.
function(nmrfuzz_add_program name suffix)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE nmrfuzz_all${suffix})
  set_target_properties(${name} PROPERTIES
    ENABLE_EXPORTS ON  # modules resolve the kernel's routines from the program
    DEFINE_SYMBOL ""
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endfunction()

# nmrfuzz_add_variant(NAME [SANITIZE list] [SANITIZE_LINK list] [OPTIONS ...] [DEFINES ...])
function(nmrfuzz_add_variant name)
  set(suffix "_${name}")
  set(dashed "-${name}")
  set(seen_as ${name})
  if(name STREQUAL "plain")
    set(suffix "")
    set(dashed "")
    # Of a sanitizer's own build tree, the "plain" variant is that sanitizer's.
    if(NMRFUZZ_FLAVOUR MATCHES "^(asan|tsan)$")
      set(seen_as ${NMRFUZZ_FLAVOUR})
    endif()
  endif()

  nmrfuzz_add_libraries("${suffix}" ${seen_as} ${ARGN})
  set(programs)
  if(NMRFUZZ_MAIN_SOURCE)
    nmrfuzz_add_program(nmrfuzz${dashed} "${suffix}" ${NMRFUZZ_MAIN_SOURCE})
    list(APPEND programs nmrfuzz${dashed})
  endif()
  if(NMRFUZZ_CC_MAIN_SOURCE AND name STREQUAL "plain")
    nmrfuzz_add_program(nmrfuzz-cc "" ${NMRFUZZ_CC_MAIN_SOURCE})
    list(APPEND programs nmrfuzz-cc)
  endif()
  if(NMRFUZZ_BENCHMARK_SOURCES AND NMRFUZZ_FLAVOUR STREQUAL "plain")
    find_package(benchmark REQUIRED)
    nmrfuzz_add_program(nmrfuzz-bench${dashed} "${suffix}" ${NMRFUZZ_BENCHMARK_SOURCES})
    target_link_libraries(nmrfuzz-bench${dashed} PRIVATE benchmark::benchmark benchmark::benchmark_main)
    list(APPEND programs nmrfuzz-bench${dashed})
  endif()
  foreach(program IN LISTS programs)
    nmrfuzz_hide_from_tools(${program} "${suffix}")
    add_dependencies(product ${program})
  endforeach()
endfunction()

# build/fuzz/NAME_fuzzer for each NAME_fuzzer.cpp, over the libraries of the ASan variant, which count coverage.
# A fuzzing service names its engine in LIB_FUZZING_ENGINE (OSS-Fuzz); otherwise it is libFuzzer.
function(nmrfuzz_add_fuzzers)
  if(NOT NMRFUZZ_FUZZER_SOURCES)
    return()
  endif()
  set(NMRFUZZ_FUZZING_ENGINE "$ENV{LIB_FUZZING_ENGINE}" CACHE STRING "Fuzzing engine to link; empty: libFuzzer")
  set(engine ${NMRFUZZ_FUZZING_ENGINE})
  if(NOT engine)
    set(engine -fsanitize=fuzzer)
  endif()

  foreach(source IN LISTS NMRFUZZ_FUZZER_SOURCES)
    get_filename_component(name ${source} NAME_WE)
    nmrfuzz_add_program(${name} _asan ${source})
    target_link_libraries(${name} PRIVATE ${engine})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzz)
    add_dependencies(product ${name})
    nmrfuzz_add_fuzzer_smoke(${name})
  endforeach()
endfunction()
