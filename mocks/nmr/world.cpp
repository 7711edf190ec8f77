#include "nmr/world.h"

namespace nmrfuzz::nmr {

namespace {

template <auto Member>
std::uint8_t& field_of(World& world) {
  return reinterpret_cast<std::uint8_t&>(world.*Member);
}

constexpr Variant kDeregisterStatus[] = {{"pending", true}, {"success_when_idle", false}};
constexpr Variant kAttachThread[] = {{"caller", true}, {"worker_then_wait", true}, {"worker_async", true}};
constexpr Variant kDetachOrder[] = {
    {"own_first", true}, {"client_first", true}, {"provider_first", true}, {"peer_first", true}, {"overlap", true}};
constexpr Variant kDetachIrql[] = {{"caller", true}, {"dispatch", true}};
constexpr Variant kDetachThread[] = {{"caller", true}, {"worker", true}};
constexpr Variant kFailOut[] = {{"untouched", true}, {"null", true}, {"poison", true}};
constexpr Variant kHandleStore[] = {{"before_offers", true}, {"after_offers", true}};
constexpr Variant kCleanupWhere[] = {{"inline", true}, {"worker", true}, {"at_wait", true}, {"dispatch", true}};
constexpr Variant kEarlyComplete[] = {{"remember", true}, {"bad_call", false}};
constexpr Variant kAttachRetry[] = {{"any_failure", true}, {"nointerface_only", true}, {"none", true}};
constexpr Variant kLateRefusal[] = {{"detach_provider", true}, {"cleanup_only", true}};
constexpr Variant kBindingOrder[] = {{"fifo", true}, {"lifo", true}, {"shuffled", true}};
constexpr Variant kDetachFanout[] = {{"serial", true}, {"parallel", true}};
constexpr Variant kDoubleWait[] = {{"report", true}, {"tolerate", false}};
constexpr Variant kNullContext[] = {{"call", true}, {"skip_cleanup", false}};
constexpr Variant kCleanupOrder[] = {{"client_first", true}, {"provider_first", true}, {"own_first", true}};
constexpr Variant kDeregisterError[] = {{"none", true}, {"inject_once", false}};
constexpr Variant kLateDetachThread[] = {{"attacher", true}, {"worker", true}};

constexpr Switch kSwitches[] = {
    {"dereg_status", "A1", "Can Deregister return STATUS_SUCCESS?", kDeregisterStatus,
     field_of<&World::deregister_status>},
    {"attach_thread", "A2", "Which thread runs the attach callbacks?", kAttachThread, field_of<&World::attach_thread>},
    {"detach_order", "A3", "In which order are the two detach callbacks of a binding called?", kDetachOrder,
     field_of<&World::detach_order>},
    {"detach_irql", "A4", "At which IRQL do detach callbacks run?", kDetachIrql, field_of<&World::detach_irql>},
    {"detach_thread", "A4", "On which thread do detach callbacks run?", kDetachThread, field_of<&World::detach_thread>},
    {"fail_out", "A5", "What is in the handle output after a failed Register?", kFailOut, field_of<&World::fail_out>},
    {"handle_store", "A6", "Is the handle stored before the attach callbacks run?", kHandleStore,
     field_of<&World::handle_store>},
    {"cleanup_where", "A7", "Where do cleanup callbacks run?", kCleanupWhere, field_of<&World::cleanup_where>},
    {"early_complete", "A8", "What does a completion before the detach callback do?", kEarlyComplete,
     field_of<&World::early_complete>},
    {"attach_retry", "A10", "May NmrClientAttachProvider be called again after a refusal?", kAttachRetry,
     field_of<&World::attach_retry>},
    {"late_refusal", "A11", "What follows when a client refuses after its provider accepted?", kLateRefusal,
     field_of<&World::late_refusal>},
    {"binding_order", "A14", "In which order are pairs offered and bindings detached?", kBindingOrder,
     field_of<&World::binding_order>},
    {"detach_fanout", "A15", "Are bindings detached one after another or all at once?", kDetachFanout,
     field_of<&World::detach_fanout>},
    {"double_wait", "A16", "May a deregistration be waited for twice?", kDoubleWait, field_of<&World::double_wait>},
    {"null_context", "A17", "Is a NULL binding context a value like any other?", kNullContext,
     field_of<&World::null_context>},
    {"cleanup_order", "A24", "In which order are the two cleanup callbacks called?", kCleanupOrder,
     field_of<&World::cleanup_order>},
    {"dereg_error", "A26", "Can Deregister of a good handle fail?", kDeregisterError,
     field_of<&World::deregister_error>},
    {"late_detach_thread", "A28", "Which thread detaches a binding whose attach met a deregistration?",
     kLateDetachThread, field_of<&World::late_detach_thread>},
};

std::string list_of(std::span<const Variant> variants) {
  std::string list;
  for (const Variant& variant : variants) {
    list += list.empty() ? "" : ", ";
    list += variant.name;
  }
  return list;
}

}  // namespace

std::span<const Switch> switches() { return kSwitches; }

std::optional<std::string> apply(World& world, std::string_view assignment) {
  const std::size_t equals = assignment.find('=');
  const std::string_view name = assignment.substr(0, equals);
  const std::string_view value = equals == std::string_view::npos ? "" : assignment.substr(equals + 1);
  for (const Switch& each : kSwitches) {
    if (each.name != name) {
      continue;
    }
    for (std::size_t i = 0; i < each.variants.size(); ++i) {
      if (each.variants[i].name == value) {
        each.field(world) = static_cast<std::uint8_t>(i);
        return std::nullopt;
      }
    }
    return "world switch '" + std::string(name) + "' has no variant '" + std::string(value) + "'; it has " +
           list_of(each.variants);
  }
  std::string known;
  for (const Switch& each : kSwitches) {
    known += known.empty() ? "" : ", ";
    known += each.name;
  }
  return "'" + std::string(name) + "' is no world and no world switch; known: windows, any, " + known;
}

std::string text_of(const World& world) {
  World shown = world;
  World windows;
  std::string text;
  for (const Switch& each : kSwitches) {
    if (each.field(shown) != each.field(windows)) {
      text += text.empty() ? "" : " ";
      text += std::string(each.name) + "=" + std::string(each.variants[each.field(shown)].name);
    }
  }
  return text.empty() ? "windows" : text;
}

}  // namespace nmrfuzz::nmr
