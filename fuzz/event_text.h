// event_text.h - events as lines for people, and the names that titles use.
#pragma once

#include <string>
#include <string_view>

#include "trace/event.h"

namespace nmrfuzz::fuzz {

// "#12 t3 KeSetEvent event 4". `number`: the event's number.
std::string line_of(const trace::Event& event, std::uint64_t number);

// As above, without number, thread and IRQL: what happened.
std::string text_of(const trace::Event& event);

// Titles of findings about calls through a dispatch table, after the rule that is broken: `call` began when it must
// not, or it was not over when `end`, a callback's return or a completion, said so.
std::string title_of_call(const trace::Event& call, std::string_view rule);
std::string title_of_unfinished_call(const trace::Event& end, const trace::Event& call);

// The name of the event's routine; "" if it has none.
std::string_view routine_name(const trace::Event& event);

// What an outcome means, as the rest of a sentence that begins with the routine: "released a lock that it does not
// hold".
std::string_view phrase_of(trace::Outcome outcome);

// "0xc000009a", or the name of the common ones: "STATUS_PENDING".
std::string status_text(std::uint32_t status);

}  // namespace nmrfuzz::fuzz
