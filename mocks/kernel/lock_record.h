// lock_record.h - the records of locks and references for which zero-filled memory is as good as an initialised one.
#pragma once

#include "kernel/kernel.h"

namespace nmrfuzz::kernel {

// The record, of kind `kind`, of the structure at `address`, whose `field` holds its number; a new one if the field is
// zero. After a breach (unreadable memory, or `otherwise` where it holds something else) nullptr.
template <class Field>
Object* record_or_new(Kernel& kernel, Routine routine, const void* address, Field* field, ObjectKind kind,
                      Outcome otherwise) {
  if (!kernel.probe(routine, field, sizeof *field)) {
    return nullptr;
  }
  if (*field == 0) {
    Object& object = kernel.add_object(kind, address);
    *field = static_cast<Field>(kernel.number_of(object));
    return &object;
  }
  Object* const object = kernel.objects().find(static_cast<ObjectNumber>(*field), address);
  if (object == nullptr || object->kind != kind) {
    kernel.breach(routine, otherwise);
    return nullptr;
  }
  return object;
}

}  // namespace nmrfuzz::kernel
