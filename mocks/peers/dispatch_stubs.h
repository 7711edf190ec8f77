// dispatch_stubs.h - the dispatch table of a peer whose NPI nobody has taught it: functions that return STATUS_SUCCESS.
#pragma once

namespace nmrfuzz::peers {

// A constant table of kStubs pointers to functions that may be called with any arguments.
inline constexpr unsigned kStubs = 64;
const void* dispatch_stubs();

}  // namespace nmrfuzz::peers
