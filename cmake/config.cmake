# Paths that an uninstalled build tree needs to find its compiler, headers and corpus.
get_filename_component(compiler_folder "${CMAKE_CXX_COMPILER}" REALPATH)
get_filename_component(NMRFUZZ_LLVM_BINDIR "${compiler_folder}" DIRECTORY)
find_program(NMRFUZZ_CLANG NAMES clang-19 REQUIRED)
set(NMRFUZZ_SOURCE_DIR "${PROJECT_SOURCE_DIR}")
set(NMRFUZZ_BINARY_DIR "${PROJECT_BINARY_DIR}")
configure_file(cmake/config.h.in generated/nmrfuzz_config.h @ONLY)
