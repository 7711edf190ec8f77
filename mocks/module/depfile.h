// depfile.h - the dependency lists that the compiler writes under -MD: make rules of one target.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nmrfuzz::module {

// The prerequisites in order, unescaped.
std::vector<std::string> parse_depfile(std::string_view text);

}  // namespace nmrfuzz::module
