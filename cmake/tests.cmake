# What ctest runs: unit tests, and a short deterministic run of every fuzz target and benchmark.
find_package(GTest REQUIRED)
include(GoogleTest)

# nmrfuzz_add_test(FOLDER): FOLDER's *_test.cpp become one program, "mocks/nmr" -> build/tests/mocks_nmr_test. The
# mocks' tests are also built for the ASan variant: mocks_nmr_test_asan, asan/mocks/nmr.Suite.Case.
function(nmrfuzz_add_test folder)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${folder}/*_test.cpp")
  if(NOT sources)
    return()
  endif()
  string(REPLACE "/" "_" name "${folder}_test")
  nmrfuzz_add_test_program(${name} "" ${folder} ${sources})
  if(NMRFUZZ_FLAVOUR STREQUAL "plain" AND folder MATCHES "^mocks/")
    nmrfuzz_add_test_program(${name}_asan _asan asan/${folder} ${sources})
  endif()
endfunction()

function(nmrfuzz_add_test_program name suffix prefix)
  nmrfuzz_add_program(${name} "${suffix}" ${ARGN})
  nmrfuzz_hide_from_tools(${name} "${suffix}")
  target_link_libraries(${name} PRIVATE GTest::gmock GTest::gtest GTest::gtest_main)
  target_compile_options(${name} PRIVATE -O1 -gline-tables-only)  # half of all compile time is theirs
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  # PRE_TEST: a program that crashes at its start is a failed test, not a failed build.
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 TEST_PREFIX "${prefix}."
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} PROPERTIES TIMEOUT 300)
endfunction()

# Replays the seeds in corpus/inputs/TARGET, then fuzzes a little from them, always the same way.
function(nmrfuzz_add_fuzzer_smoke name)
  string(REGEX REPLACE "_fuzzer$" "" short ${name})
  add_test(NAME fuzz.smoke.${short}
    COMMAND bash ${PROJECT_SOURCE_DIR}/cmake/fuzzer_smoke.sh $<TARGET_FILE:${name}> ${PROJECT_SOURCE_DIR}/corpus/inputs/${short}
    WORKING_DIRECTORY ${PROJECT_BINARY_DIR}/fuzz)
  set_tests_properties(fuzz.smoke.${short} PROPERTIES TIMEOUT 300)
endfunction()

function(nmrfuzz_add_benchmark_smoke)
  if(TARGET nmrfuzz-bench)
    add_test(NAME stress.smoke.bench COMMAND nmrfuzz-bench --benchmark_min_time=0.001)
    set_tests_properties(stress.smoke.bench PROPERTIES TIMEOUT 300)
  endif()
endfunction()

# Every command of the README, with the output that it shows.
function(nmrfuzz_add_readme_test)
  add_test(NAME readme COMMAND bash ${PROJECT_SOURCE_DIR}/cmake/readme_test.sh README.md
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(readme PROPERTIES TIMEOUT 300 RUN_SERIAL TRUE)
endfunction()
