// dispatch_stubs.h - the dispatch tables of peers whose NPI nobody has taught them: functions that record their calls.
//
// A function takes any arguments and returns 0: STATUS_SUCCESS, NULL, FALSE. It leaves what pointer arguments point to
// as it was; a function of the NPI that returns a floating-point number or a structure in memory has no useful result.
// It may be called at any IRQL and with any lock held: it takes scheduling points, before it is entered and within,
// and never waits. It writes kNpiCallEnter and kNpiCallExit, which name the binding, the function and, where it is a
// value that events have named before, the first argument: the peer's context, in the usual shape of an NPI.
//
// Thread safety: tables are constant. Source: the contract, section 8.1.
#pragma once

#include "nmr/states.h"
#include "trace/event.h"

namespace nmrfuzz::peers {

// Functions in a table.
inline constexpr unsigned kStubs = 64;
// Bindings of an execution that have a table of their own; all later ones share one more.
inline constexpr trace::ObjectNumber kBindingsWithTable = 16;

// The table, of kStubs pointers to functions, that a peer hands over for `binding`, its number; `caller`: the side that
// it is handed to.
const void* dispatch_stubs(nmr::Role caller, trace::ObjectNumber binding);

}  // namespace nmrfuzz::peers
