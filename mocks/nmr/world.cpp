#include "nmr/world.h"

namespace nmrfuzz::nmr {

namespace {

template <auto Member>
std::uint8_t& field_of(World& world) {
  return reinterpret_cast<std::uint8_t&>(world.*Member);
}

constexpr Variant kDeregisterStatus[] = {
    {"pending", true, "Deregister of a good handle always returns STATUS_PENDING; a wait is due."},
    {"success_when_idle", false, "With no binding left it returns STATUS_SUCCESS, and the registration is closed."}};
constexpr Variant kAttachThread[] = {
    {"caller", true, "Register offers every pair on its caller's thread before it returns."},
    {"worker_then_wait", true, "A worker thread runs the callbacks while Register waits for it."},
    {"worker_async", true, "A worker thread runs the callbacks, which may come after Register has returned."}};
constexpr Variant kDetachOrder[] = {{"own_first", true, "The side whose registration leaves is told first."},
                                    {"client_first", true, "The client is told first."},
                                    {"provider_first", true, "The provider is told first."},
                                    {"peer_first", true, "The side that stays is told first."},
                                    {"overlap", true, "Both are told at the same time, on two threads."}};
constexpr Variant kDetachIrql[] = {{"caller", true, "At the IRQL of the thread that runs them."},
                                   {"dispatch", true, "At DISPATCH_LEVEL."}};
constexpr Variant kDetachThread[] = {{"caller", true, "On the thread that deregisters."},
                                     {"worker", true, "On worker threads; Deregister does not wait for them."}};
constexpr Variant kFailOut[] = {{"untouched", true, "What was there before."},
                                {"null", true, "NULL."},
                                {"poison", true, "A value that is no handle."}};
constexpr Variant kHandleStore[] = {{"before_offers", true, "It is stored before the first offer."},
                                    {"after_offers", true, "It is stored when Register is about to return."}};
constexpr Variant kCleanupWhere[] = {
    {"inline", true, "On the thread that made the second side done, at its IRQL."},
    {"worker", true, "On a worker thread."},
    {"at_wait", true, "In the first wait for either of the two registrations."},
    {"dispatch", true, "On the thread that made the second side done, at DISPATCH_LEVEL."}};
constexpr Variant kEarlyComplete[] = {
    {"remember", true, "The side is done as soon as its detach callback returns STATUS_PENDING."},
    {"bad_call", false, "It is refused, as one without a pending detach."}};
constexpr Variant kAttachRetry[] = {{"any_failure", true, "After any failure."},
                                    {"nointerface_only", true, "Only after STATUS_NOINTERFACE."},
                                    {"none", true, "Never: a second call fails without asking the provider."}};
constexpr Variant kLateRefusal[] = {
    {"detach_provider", true, "The provider detaches and cleans up as if it had been attached."},
    {"cleanup_only", true, "The provider cleans up and is not told to detach."},
    {"stop", false, "The machine stops, as with a bug check."}};
constexpr Variant kBindingOrder[] = {{"fifo", true, "In order of registration, or of attachment."},
                                     {"lifo", true, "In the reverse order."},
                                     {"shuffled", true, "In any order."}};
constexpr Variant kDetachFanout[] = {{"serial", true, "One thread starts them one after another and waits for none."},
                                     {"parallel", true, "All but the last are started on threads of their own."}};
constexpr Variant kDoubleWait[] = {
    {"report", true, "One wait closes the registration; a later one fails with STATUS_INVALID_PARAMETER."},
    {"tolerate", true, "A later one returns STATUS_SUCCESS at once."}};
constexpr Variant kNullContext[] = {{"call", true, "Yes: detach and cleanup are called with NULL."},
                                    {"skip_cleanup", false, "No: a side with a NULL context is not cleaned up."}};
constexpr Variant kCleanupOrder[] = {{"client_first", true, "The client's first."},
                                     {"provider_first", true, "The provider's first."},
                                     {"own_first", true, "That of the side whose registration leaves first."}};
constexpr Variant kDeregisterError[] = {
    {"none", true, "No."},
    {"inject_once", false, "The first call for each handle fails with STATUS_INSUFFICIENT_RESOURCES, without effect."}};
constexpr Variant kLateDetachThread[] = {
    {"attacher", true, "The thread of the attach, as soon as it is over."},
    {"worker", true, "A worker thread."},
    {"deregisterer", true,
     "Deregister's, if it is still at work by then, since it must not wait (G19); else attacher."}};
constexpr Variant kReoffer[] = {
    {"never", true, "No: a pair is offered once."},
    {"on_new_registration", true, "Yes: whenever another registration of the NPI arrives."}};
constexpr Variant kDrainPoint[] = {
    {"after_cleanup", true, "When both cleanup callbacks of every binding have returned."},
    {"after_detach_unsafe", false, "When both sides of every binding are done; no conforming registrar does this."}};
constexpr Variant kCheckSizes[] = {
    {"report", true, "No: wrong values are only reported."},
    {"refuse", false, "Yes: Register fails with STATUS_INVALID_PARAMETER. The instance's Version is not checked."}};
constexpr Variant kBadComplete[] = {{"report_continue", true, "The call is ignored."},
                                    {"report_stop", false, "The machine stops, as with a bug check."}};
constexpr Variant kEarlyCalls[] = {{"allow", true, "They may."},
                                   {"provoke", true, "They do: a peer calls from inside its own attach callback."}};
constexpr Variant kCharacteristicsUse[] = {
    {"in_place", true, "In place: a change while they are in use is a finding."},
    {"in_place_no_hash", false, "In place, but changes of their content are not looked for."}};
constexpr Variant kInsideComplete[] = {{"allow", true, "Yes, if the callback then returns STATUS_PENDING."},
                                       {"strict", false, "No: it is reported."}};
constexpr Variant kReentry[] = {{"allow", true, "Yes, for other registrations, where the IRQL allows it."},
                                {"strict_note", false, "It is noted."}};
constexpr Variant kNullDispatch[] = {{"allow", true, "Yes, if NULL was stored."},
                                     {"strict", false, "No: a provider has a table. It is reported."}};
constexpr Variant kDecline[] = {{"any_error", true, "Yes: any error is a refusal, and noted."},
                                {"strict", false, "No: anything but STATUS_NOINTERFACE is reported."}};
constexpr Variant kSameStructure[] = {{"note", true, "Yes, as two registrations; it is noted."},
                                      {"report", false, "No: it is reported."}};
constexpr Variant kCallsAfterDetach[] = {
    {"until_done", true, "Until its own side is done."},
    {"note", false, "A call that is entered after the detach callback was entered is noted."}};

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
    {"null_context", "A17", "Is a NULL binding context a value like any other?", kNullContext,
     field_of<&World::null_context>},
    {"cleanup_order", "A24", "In which order are the two cleanup callbacks called?", kCleanupOrder,
     field_of<&World::cleanup_order>},
    {"dereg_error", "A26", "Can Deregister of a good handle fail?", kDeregisterError,
     field_of<&World::deregister_error>},
    {"late_detach_thread", "A28", "Which thread detaches a binding whose attach met a deregistration?",
     kLateDetachThread, field_of<&World::late_detach_thread>},
    {"double_wait", "A16", "May a deregistration be waited for twice?", kDoubleWait, field_of<&World::double_wait>},
    {"reoffer", "A12", "Are refused pairs offered again?", kReoffer, field_of<&World::reoffer>},
    {"early_calls", "A29", "May the other side call before the client's attach callback has returned?", kEarlyCalls,
     field_of<&World::early_calls>},
    {"drain_point", "A25", "When is nothing left of a deregistration?", kDrainPoint, field_of<&World::drain_point>},
    {"check_sizes", "A21", "Does Register check Version, Length and Size?", kCheckSizes, field_of<&World::check_sizes>},
    {"bad_complete", "A27", "What does a completion with a bad handle do?", kBadComplete,
     field_of<&World::bad_complete>},
    {"char_use", "A23", "Are characteristics used in place?", kCharacteristicsUse,
     field_of<&World::characteristics_use>},
    {"inside_complete", "A9", "May a detach be completed inside its callback?", kInsideComplete,
     field_of<&World::inside_complete>},
    {"reentry", "A13", "May callbacks register and deregister?", kReentry, field_of<&World::reentry>},
    {"null_dispatch", "A18", "May a provider's dispatch table be NULL?", kNullDispatch,
     field_of<&World::null_dispatch>},
    {"decline", "A19", "May an attach be declined with other errors than STATUS_NOINTERFACE?", kDecline,
     field_of<&World::decline>},
    {"same_struct", "A22", "May the same characteristics be registered twice?", kSameStructure,
     field_of<&World::same_structure>},
    {"calls_after_detach", "A31", "Until when may a detaching side call the other one?", kCallsAfterDetach,
     field_of<&World::calls_after_detach>},
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
