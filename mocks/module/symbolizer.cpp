#include "module/symbolizer.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "module/content_hash.h"
#include "module/process.h"
#include "nmrfuzz_config.h"

namespace nmrfuzz::module {

std::string Symbolizer::default_program() { return NMRFUZZ_LLVM_BINDIR "/llvm-symbolizer"; }

Symbolizer::~Symbolizer() { stop(); }

bool Symbolizer::start() {
  if (socket_ < 0 && !failed_) {
    socket_ = start_filter({program_, "--output-style=JSON", "--relativenames", "--demangle", "--inlines"}, process_);
    failed_ = socket_ < 0;
  }
  return !failed_;
}

void Symbolizer::stop() {
  if (socket_ >= 0) {
    close(socket_);  // it ends at the end of its input
    socket_ = -1;
    while (waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
}

// One line out, one line back.
bool Symbolizer::ask(std::string_view question, std::string& answer) {
  while (!question.empty()) {
    const ssize_t sent = send(socket_, question.data(), question.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EINTR) {
      return false;
    }
    question.remove_prefix(sent < 0 ? 0 : static_cast<std::size_t>(sent));
  }
  std::array<char, 4096> buffer;
  while (!answer.ends_with('\n')) {
    const ssize_t got = recv(socket_, buffer.data(), buffer.size(), 0);
    if (got == 0 || (got < 0 && errno != EINTR)) {
      return false;
    }
    answer.append(buffer.data(), got < 0 ? 0 : static_cast<std::size_t>(got));
  }
  return true;
}

// The program's answer about an address of the image; empty if it has none.
std::string Symbolizer::answer_about(const char* what, const Image& image, std::uintptr_t address) {
  if (image.path().find_first_of("\"\n") != std::string::npos || !start()) {
    return "";
  }
  const std::string offset = ContentHash::hex_of(address - image.load_address());
  std::string answer;
  if (!ask(std::string(what) + " \"" + image.path() + "\" 0x" + offset + "\n", answer)) {
    stop();
    failed_ = true;
    return "";
  }
  return answer;
}

std::string Symbolizer::describe_data(const Image& image, std::uintptr_t address) {
  if (!image.contains_data(address)) {
    return "";
  }
  const auto parsed = nlohmann::json::parse(answer_about("DATA", image, address), nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object() || !parsed.contains("Data") || parsed["Data"].value("Name", "").empty()) {
    return "";
  }
  const auto& data = parsed["Data"];
  const std::uint64_t start = std::strtoull(data.value("Start", "0").c_str(), nullptr, 16);
  const std::uint64_t distance = address - image.load_address() - start;
  return data.value("Name", "") + (distance == 0 ? "" : "+" + std::to_string(distance));
}

std::vector<SourceFrame> Symbolizer::describe(const Image& image, std::uintptr_t address) {
  if (!image.contains_code(address)) {
    return {};
  }
  const auto parsed = nlohmann::json::parse(answer_about("CODE", image, address), nullptr, /*allow_exceptions=*/false);
  std::vector<SourceFrame> frames;
  if (parsed.is_object() && parsed.contains("Symbol")) {
    for (const auto& symbol : parsed["Symbol"]) {
      SourceFrame frame{symbol.value("FunctionName", ""), symbol.value("FileName", ""), symbol.value("Line", 0U)};
      if (!frame.function.empty() || !frame.file.empty()) {
        frames.push_back(std::move(frame));
      }
    }
  }
  return frames;
}

}  // namespace nmrfuzz::module
