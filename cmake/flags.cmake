# Flags of all project code, as usage requirements of the interface library nmrfuzz_options.

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g")  # without NDEBUG: an assertion is part of the product
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

find_program(NMRFUZZ_CCACHE ccache)
if(NMRFUZZ_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${NMRFUZZ_CCACHE})
endif()

find_package(Threads REQUIRED)
set(Boost_USE_STATIC_LIBS ON)  # a context switch does not go through a PLT
find_package(Boost 1.81 REQUIRED COMPONENTS context)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)

add_library(nmrfuzz_options INTERFACE)
target_compile_options(nmrfuzz_options INTERFACE
  -fno-omit-frame-pointer
  -fshort-wchar -fms-extensions  # a module's WCHAR has 16 bits; WDK headers rely on unnamed members
  -Wall -Wextra -Wpedantic -Wshadow
  $<$<BOOL:${NMRFUZZ_WERROR}>:-Werror>)
target_compile_definitions(nmrfuzz_options INTERFACE NMRFUZZ_MOCK)
target_include_directories(nmrfuzz_options INTERFACE
  ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/mocks ${PROJECT_BINARY_DIR}/generated)
target_include_directories(nmrfuzz_options SYSTEM INTERFACE ${PROJECT_SOURCE_DIR}/mocks/include)
target_link_options(nmrfuzz_options INTERFACE -fuse-ld=lld)
target_link_libraries(nmrfuzz_options INTERFACE
  Boost::context fmt::fmt nlohmann_json::nlohmann_json CLI11::CLI11 Threads::Threads ${CMAKE_DL_LIBS})

if(NMRFUZZ_FLAVOUR STREQUAL "asan")
  # function and vptr: modules are C and call through tables of their own types.
  set(flavour_flags -fsanitize=address,undefined -fno-sanitize=function,vptr -fno-sanitize-recover=all)
  target_compile_definitions(nmrfuzz_options INTERFACE _GLIBCXX_ASSERTIONS)
elseif(NMRFUZZ_FLAVOUR STREQUAL "tsan")
  set(flavour_flags -fsanitize=thread)
  target_compile_definitions(nmrfuzz_options INTERFACE NMRFUZZ_TSAN=1)
elseif(NMRFUZZ_FLAVOUR STREQUAL "coverage")
  set(flavour_flags -fprofile-instr-generate -fcoverage-mapping)
elseif(NOT NMRFUZZ_FLAVOUR STREQUAL "plain")
  message(FATAL_ERROR "NMRFUZZ_FLAVOUR is \"${NMRFUZZ_FLAVOUR}\": expected plain, asan, tsan or coverage.")
endif()
target_compile_options(nmrfuzz_options INTERFACE ${flavour_flags})
target_link_options(nmrfuzz_options INTERFACE ${flavour_flags})
