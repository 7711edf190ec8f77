// register_checks.h - what a module hands to Register, read and checked field by field: R1 to R6, R9, R10.
//
// Facts only: each field that is not as documented is a kBreach event; the rules judge it. Nothing is refused that can
// be worked with (A21). The structures are used in place (A23), as the lifetimes that the pages demand imply; only the
// addresses of callbacks and of the registration instance are kept, and the content, to notice changes.
// Source: the pages of NPI_CLIENT_CHARACTERISTICS, NPI_PROVIDER_CHARACTERISTICS and NPI_REGISTRATION_INSTANCE.
#pragma once

#include <ntddk.h>

#include <netioddk.h>

#include "kernel/kernel.h"
#include "nmr/records.h"

namespace nmrfuzz::nmr {

// What both kinds of characteristics have in common. The structure itself has been probed.
struct Given {
  const void* structure;
  std::uint16_t version;
  std::uint16_t length;
  std::size_t size;  // what `length` has to be
  const NPI_REGISTRATION_INSTANCE* instance;
  Callbacks callbacks;
};

// False if there is a field without which nothing can be registered.
bool read_characteristics(kernel::Kernel& kernel, kernel::Routine routine, const Given& given, Characteristics& read);

// Whether `variable` lies on the stack of the thread that calls.
bool is_on_this_stack(kernel::Kernel& kernel, const void* variable);

}  // namespace nmrfuzz::nmr
