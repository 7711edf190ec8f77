#include "module/depfile.h"

namespace nmrfuzz::module {

std::vector<std::string> parse_depfile(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) {
      words.push_back(word);
      word.clear();
    }
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char next = i + 1 < text.size() ? text[i + 1] : '\0';
    if (text[i] == '\\' && next == '\n') {
      end_word();
      ++i;
    } else if ((text[i] == '\\' && (next == ' ' || next == '#')) || (text[i] == '$' && next == '$')) {
      word += next;
      ++i;
    } else if (text[i] == ' ' || text[i] == '\n') {
      end_word();
    } else {
      word += text[i];
    }
  }
  end_word();
  if (!words.empty()) {
    words.erase(words.begin());  // the target
  }
  return words;
}

}  // namespace nmrfuzz::module
