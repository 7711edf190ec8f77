// disguise_fixture.h - for tests: a module's sources under other names, with other GUIDs and other pool tags.
//
// Whatever the harness finds in a module it has to find in its disguise, in the same execution: nothing may hang on how
// a module calls itself. The disguise is mechanical. Every identifier that is neither a word of C or C++ nor one of the
// WDK's (found in mocks/include) gets another name, as do the files; every GUID gets other digits, every pool tag
// other letters; comments go. Strings stay.
#pragma once

#include <cctype>
#include <cstdint>
#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "module/files.h"
#include "nmrfuzz_config.h"

namespace nmrfuzz::fuzz {

// The pieces of a C or C++ source: what disguises differ in, and all else as it stands.
enum class PieceKind : std::uint8_t { kIdentifier, kCharacters, kComment, kDirective, kOther };

struct Piece {
  PieceKind kind = PieceKind::kOther;
  std::string_view text;
};

// Cuts a source into pieces. A directive is `# word` and, of #include and #pragma, the rest of the line.
class Pieces {
 public:
  explicit Pieces(std::string_view source) : left_(source) {}

  bool next(Piece& piece) {
    if (left_.empty()) {
      return false;
    }
    const std::size_t length = measure(piece.kind);
    piece.text = left_.substr(0, length);
    line_begins_ = piece.text.back() == '\n' || (line_begins_ && std::isspace(piece.text.back()) != 0);
    left_.remove_prefix(length);
    return true;
  }

 private:
  static bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }
  std::size_t through(std::string_view end, std::size_t from) const {
    const std::size_t found = left_.find(end, from);
    return found == std::string_view::npos ? left_.size() : found + end.size();
  }
  template <class Belongs>
  std::size_t while_true(std::size_t length, Belongs belongs) const {
    while (length < left_.size() && belongs(left_[length])) {
      ++length;
    }
    return length;
  }

  std::size_t measure(PieceKind& kind) const {
    const char first = left_.front();
    kind = PieceKind::kOther;
    if (left_.starts_with("//")) {
      kind = PieceKind::kComment;
      return while_true(2, [](char c) { return c != '\n'; });
    }
    if (left_.starts_with("/*")) {
      kind = PieceKind::kComment;
      return through("*/", 2);
    }
    if (first == '#' && line_begins_) {
      kind = PieceKind::kDirective;
      const std::size_t word = while_true(while_true(1, [](char c) { return c == ' '; }), is_word);
      const bool whole = left_.substr(0, word).ends_with("include") || left_.substr(0, word).ends_with("pragma");
      return whole ? while_true(word, [](char c) { return c != '\n'; }) : word;
    }
    if (first == '"' || first == '\'') {
      kind = first == '\'' ? PieceKind::kCharacters : PieceKind::kOther;
      std::size_t end = 1;
      while (end < left_.size() && left_[end] != first) {
        end += left_[end] == '\\' ? 2 : 1;
      }
      return end + 1;
    }
    if (std::isdigit(static_cast<unsigned char>(first)) != 0) {
      return while_true(1, [](char c) { return is_word(c) || c == '.' || c == '\''; });
    }
    if (is_word(first)) {
      const std::size_t length = while_true(1, is_word);
      const bool prefix = length < left_.size() && (left_[length] == '"' || left_[length] == '\'');  // of a literal
      kind = prefix ? PieceKind::kOther : PieceKind::kIdentifier;
      return length;
    }
    return 1;
  }

  std::string_view left_;
  bool line_begins_ = true;
};

// Every identifier in the headers that a module sees, outside of comments, and the words of the languages.
inline std::set<std::string, std::less<>> names_that_stay() {
  std::istringstream words(
      "alignas alignof asm auto bool break case catch char class concept const constexpr constinit const_cast continue "
      "decltype default defined delete do double dynamic_cast else enum explicit extern false final float for friend "
      "goto if inline int long mutable namespace new noexcept nullptr operator override private protected public "
      "register reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast struct "
      "switch template this throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t "
      "while nodiscard maybe_unused noreturn fallthrough size_t DriverEntry");
  std::set<std::string, std::less<>> names;
  for (std::string word; words >> word;) {
    names.insert(word);
  }
  for (const auto& file : std::filesystem::recursive_directory_iterator(NMRFUZZ_SOURCE_DIR "/mocks/include")) {
    const std::string text = file.is_regular_file() ? module::read_file(file.path()).value_or("") : "";
    Pieces pieces(text);
    for (Piece piece; pieces.next(piece);) {
      if (piece.kind == PieceKind::kIdentifier) {
        names.insert(std::string(piece.text));
      }
    }
  }
  return names;
}

class Disguise {
 public:
  // Writes a disguise of `sources` and of the headers beside them that they include into `folder`. Names in `options`
  // stay, since whoever compiles the disguise uses the same options.
  Disguise(const std::vector<std::string>& sources, const std::vector<std::string>& options, const std::string& folder)
      : stays_(names_that_stay()), folder_(folder) {
    for (const std::string& option : options) {
      Pieces pieces(std::string_view(option).substr(2));  // behind "-D"
      for (Piece piece; pieces.next(piece);) {
        stays_.insert(std::string(piece.text));
      }
    }
    std::filesystem::create_directories(folder);
    for (const std::string& source : sources) {
      beside_ = std::filesystem::path(source).parent_path();
      sources_.push_back(folder + "/" + write(std::filesystem::path(source).filename()));
    }
  }

  const std::vector<std::string>& sources() const { return sources_; }
  std::size_t renamed() const { return renamed_.size(); }
  std::size_t guids() const { return guids_; }
  // What a pool tag of the original is in the disguise; any other number is itself.
  std::uint64_t tag(std::uint64_t original) const {
    const auto found = tags_.find(original);
    return found == tags_.end() ? original : found->second;
  }

 private:
  // Writes the disguise of the file of that name; returns its name there.
  std::string write(const std::string& original) {
    const auto [known, is_new] = files_.try_emplace(original, "");
    if (is_new) {
      known->second = "part" + std::to_string(files_.size()) + std::filesystem::path(original).extension().string();
      const std::string name = known->second;
      const std::string text = disguised(with_other_guids(module::read_file(beside_ / original).value()));
      if (module::read_file(folder_ / name) != text) {  // else the compiled module in the cache is still valid
        module::write_file(folder_ / name, text);
      }
      return name;
    }
    return known->second;
  }

  std::string disguised(const std::string& source) {
    std::string text;
    Pieces pieces(source);
    for (Piece piece; pieces.next(piece);) {
      switch (piece.kind) {
        case PieceKind::kIdentifier:
          text += other_name(piece.text);
          break;
        case PieceKind::kCharacters:
          text += other_tag(piece.text);
          break;
        case PieceKind::kComment:
          text += ' ';
          break;
        case PieceKind::kDirective:
          text += other_directive(piece.text);
          break;
        case PieceKind::kOther:
          text += piece.text;
          break;
      }
    }
    return text;
  }

  std::string other_name(std::string_view name) {
    if (stays_.contains(name) || name.starts_with("__")) {
      return std::string(name);
    }
    return renamed_.try_emplace(std::string(name), "Quasar" + std::to_string(renamed_.size())).first->second;
  }

  // A literal of four letters is a pool tag.
  std::string other_tag(std::string_view literal) {
    constexpr std::size_t kQuoted = 6;
    if (literal.size() != kQuoted || literal.find('\\') != std::string_view::npos) {
      return std::string(literal);
    }
    std::string other(literal);
    std::uint64_t before = 0;
    std::uint64_t after = 0;
    for (char& c : std::span(other).subspan(1, kQuoted - 2)) {
      before = before << 8 | static_cast<unsigned char>(c);
      constexpr int kLetters = 26;
      const char first = std::islower(static_cast<unsigned char>(c)) != 0 ? 'a' : 'A';
      if (std::isalpha(static_cast<unsigned char>(c)) != 0) {
        c = static_cast<char>(first + (c - first + kLetters / 2) % kLetters);
      }
      after = after << 8 | static_cast<unsigned char>(c);
    }
    tags_[before] = after;
    return other;
  }

  std::string other_directive(std::string_view directive) {
    const std::size_t quote = directive.find('"');
    if (directive.find("include") == std::string_view::npos || quote == std::string_view::npos) {
      return std::string(directive);
    }
    return "#include \"" + write(std::string(directive.substr(quote + 1, directive.rfind('"') - quote - 1))) + '"';
  }

  std::string with_other_guids(const std::string& source) {
    static const std::regex kGuid(
        "0x[0-9a-fA-F]{1,8},\\s*0x[0-9a-fA-F]{1,4},\\s*0x[0-9a-fA-F]{1,4},\\s*\\{?\\s*"
        "(?:0x[0-9a-fA-F]{1,2},\\s*){7}0x[0-9a-fA-F]{1,2}");
    std::string text;
    auto rest = source.begin();
    for (std::sregex_iterator match(source.begin(), source.end(), kGuid), end; match != end; ++match) {
      text.append(rest, (*match)[0].first);
      text += with_other_digits((*match)[0]);
      rest = (*match)[0].second;
      ++guids_;
    }
    return text.append(rest, source.end());
  }

  // Different GUIDs stay different.
  static std::string with_other_digits(std::string text) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    constexpr std::size_t kFurther = 5;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const auto digit = kDigits.find(static_cast<char>(std::tolower(static_cast<unsigned char>(text[i]))));
      if (i + 1 < text.size() && text[i + 1] == 'x') {
        ++i;  // "0x"
      } else if (digit != std::string_view::npos) {
        text[i] = kDigits[(digit + kFurther) % kDigits.size()];
      }
    }
    return text;
  }

  std::set<std::string, std::less<>> stays_;
  std::filesystem::path folder_;
  std::filesystem::path beside_;  // where the files of the original are
  std::vector<std::string> sources_;
  std::map<std::string, std::string> files_;
  std::map<std::string, std::string, std::less<>> renamed_;
  std::map<std::uint64_t, std::uint64_t> tags_;
  std::size_t guids_ = 0;
};

}  // namespace nmrfuzz::fuzz
