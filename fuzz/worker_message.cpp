#include "fuzz/worker_message.h"

#include <nlohmann/json.hpp>

namespace nmrfuzz::fuzz {

namespace {

using Json = nlohmann::json;

// Text from compilers and file names need not be UTF-8.
std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json to_json(const Ready& ready) {
  return {{"is", "ready"},
          {"registrations", ready.registrations},
          {"provided", ready.npis_provided},
          {"consumed", ready.npis_consumed}};
}

Json to_json(const CannotLoad& failure) {
  return {{"is", "cannot-load"}, {"image", failure.image}, {"text", failure.text}};
}

// What both findings and notes say.
Json report_json(const char* is, std::uint64_t schedule, std::uint64_t hash, const Report& report) {
  return {{"is", is},
          {"schedule", schedule},
          {"hash", hash},
          {"kind", report.kind},
          {"rule", report.rule},
          {"title", report.title},
          {"signature", report.signature},
          {"stack", report.stack},
          {"cause_stack", report.cause_stack},
          {"report_events", report.events},
          {"race", report.race},
          {"world", report.world}};
}

Json to_json(const Found& found) {
  Json json = report_json("found", found.schedule, found.hash, found.report);
  json["strategy"] = found.strategy;
  json["events"] = found.events;
  json["decisions"] = print_decisions(found.decisions, "", std::string::npos);
  return json;
}

Json to_json(const Noted& noted) { return report_json("noted", noted.schedule, noted.hash, noted.report); }

Json to_json(const Replayed& replayed) {
  return {{"is", "replayed"},
          {"kind", replayed.kind},
          {"rule", replayed.rule},
          {"hash", replayed.hash},
          {"events", replayed.events},
          {"hash_at_events", replayed.hash_at_events},
          {"diverged_at", replayed.diverged_at},
          {"decisions_left", replayed.decisions_left}};
}

Json to_json(const SiteReport& site) {
  return {{"is", "site"},
          {"routine", site.routine},
          {"place", site.place},
          {"failures", site.failures},
          {"findings", site.findings},
          {"pair_findings", site.pair_findings}};
}

Json to_json(const TraceLine& line) { return {{"is", "line"}, {"text", line.text}}; }

Json to_json(const Places& places) {
  return {{"is", "places"}, {"stack", places.stack}, {"functions", places.functions}};
}

Report report_from(const Json& json) {
  Report report;
  report.kind = json.at("kind");
  report.rule = json.at("rule");
  report.title = json.at("title");
  report.signature = json.at("signature");
  report.stack = json.at("stack").get<std::vector<std::string>>();
  report.cause_stack = json.at("cause_stack").get<std::vector<std::string>>();
  report.events = json.at("report_events").get<std::vector<std::string>>();
  report.race = json.at("race").get<std::vector<std::string>>();
  report.world = json.at("world");
  return report;
}

Found found_from(const Json& json) {
  Found found;
  found.schedule = json.at("schedule");
  found.strategy = json.at("strategy");
  found.hash = json.at("hash");
  found.events = json.at("events");
  std::string error;
  if (!parse_decisions(json.at("decisions").get_ref<const std::string&>(), found.decisions, error)) {
    throw std::invalid_argument(error);
  }
  found.report = report_from(json);
  return found;
}

Noted noted_from(const Json& json) { return {json.at("schedule"), json.at("hash"), report_from(json)}; }

Replayed replayed_from(const Json& json) {
  return {json.at("kind"),           json.at("rule"),        json.at("hash"),          json.at("events"),
          json.at("hash_at_events"), json.at("diverged_at"), json.at("decisions_left")};
}

WorkerMessage message_from(const Json& json) {
  const std::string is = json.at("is");
  if (is == "ready") {
    return Ready{json.at("registrations"), json.at("provided"), json.at("consumed")};
  }
  if (is == "cannot-load") {
    return CannotLoad{json.at("image"), json.at("text")};
  }
  if (is == "found") {
    return found_from(json);
  }
  if (is == "noted") {
    return noted_from(json);
  }
  if (is == "replayed") {
    return replayed_from(json);
  }
  if (is == "site") {
    return SiteReport{json.at("routine"), json.at("place"), json.at("failures"), json.at("findings"),
                      json.at("pair_findings")};
  }
  if (is == "line") {
    return TraceLine{json.at("text")};
  }
  return Places{json.at("stack"), json.at("functions")};
}

WorkerOrder order_from(const Json& json) {
  WorkerOrder order;
  order.task = json.at("task");
  order.shared = json.at("shared");
  order.messages = json.at("messages");
  order.images = json.at("images").get<std::vector<std::string>>();
  if (const auto wrong = set_world(order.conditions, json.at("world").get<std::string>())) {
    throw std::invalid_argument(*wrong);
  }
  order.conditions.faults = json.at("faults").get<Faults>();
  order.conditions.one_peer = json.at("one_peer");
  order.conditions.strict = json.at("strict");
  order.conditions.access_points = json.at("access_points");
  order.conditions.step_limit = json.at("step_limit");
  order.strategy = json.at("strategy");
  order.seed = json.at("seed");
  order.first = json.at("first");
  order.stride = json.at("stride");
  order.end = json.at("end");
  order.keep_going = json.at("keep_going");
  order.sweep_only = json.at("sweep_only");
  order.wanted = {json.at("wanted_kind"), json.at("wanted_rule"), json.at("wanted_signature")};
  order.times = json.at("times");
  order.events = json.at("events");
  for (const Json& place : json.at("places")) {
    order.places.push_back({place.at(0), place.at(1)});
  }
  return order;
}

}  // namespace

std::string encode(const WorkerOrder& order) {
  Json places = Json::array();
  for (const CodePlace& place : order.places) {
    places.push_back({place.image, place.offset});
  }
  return dump({{"task", order.task},
               {"shared", order.shared},
               {"messages", order.messages},
               {"images", order.images},
               {"world", world_text(order.conditions)},
               {"faults", order.conditions.faults},
               {"one_peer", order.conditions.one_peer},
               {"strict", order.conditions.strict},
               {"access_points", order.conditions.access_points},
               {"step_limit", order.conditions.step_limit},
               {"strategy", order.strategy},
               {"seed", order.seed},
               {"first", order.first},
               {"stride", order.stride},
               {"end", order.end},
               {"keep_going", order.keep_going},
               {"sweep_only", order.sweep_only},
               {"wanted_kind", order.wanted.kind},
               {"wanted_rule", order.wanted.rule},
               {"wanted_signature", order.wanted.signature},
               {"times", order.times},
               {"events", order.events},
               {"places", places}});
}

std::optional<WorkerOrder> decode_order(std::string_view text) {
  try {
    return order_from(Json::parse(text));
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

std::string encode(const WorkerMessage& message) {
  return dump(std::visit([](const auto& each) { return to_json(each); }, message));
}

std::optional<WorkerMessage> decode_message(std::string_view line) {
  try {
    return message_from(Json::parse(line));
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

}  // namespace nmrfuzz::fuzz
