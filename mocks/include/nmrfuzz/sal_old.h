// sal_old.h - source annotations of the first kind (__in, __out_ecount(n), ...). All expand to nothing.
// libstdc++ names variables __in and __out. Its light headers are therefore read here first; a C++ module that wants a
// heavier one (<string>, <span>, ...) includes it before the WDK's headers.
// Source: documentation page "Header Annotations".
#ifndef NMRFUZZ_SAL_OLD_H
#define NMRFUZZ_SAL_OLD_H

#ifndef NMRFUZZ_MOCK

#ifdef __cplusplus
extern "C++" {
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>
}
#endif

#define __callback
#define __checkReturn
#define __deref_in
#define __deref_in_opt
#define __deref_inout
#define __deref_inout_opt
#define __deref_opt_out
#define __deref_opt_out_opt
#define __deref_out
#define __deref_out_opt
#define __exceptthat
#define __fallthrough
#define __format_string
#define __in
#define __in_nz
#define __in_opt
#define __in_z
#define __in_z_opt
#define __inout
#define __inout_opt
#define __inout_z
#define __inout_z_opt
#define __maybenull
#define __maybereadonly
#define __notnull
#define __notreadonly
#define __notvalid
#define __nullnullterminated
#define __nullterminated
#define __out
#define __out_opt
#define __out_z
#define __readonly
#define __refparam
#define __reserved
#define __rpc_entry
#define __valid

#define __bcount(...)
#define __blocksOn(...)
#define __byte_readableTo(...)
#define __byte_writableTo(...)
#define __control_entrypoint(...)
#define __data_entrypoint(...)
#define __deref_in_range(...)
#define __deref_inout_bcount(...)
#define __deref_inout_ecount(...)
#define __deref_opt_out_bcount(...)
#define __deref_opt_out_bcount_opt(...)
#define __deref_opt_out_ecount(...)
#define __deref_opt_out_ecount_opt(...)
#define __deref_out_bcount(...)
#define __deref_out_bcount_full(...)
#define __deref_out_bcount_opt(...)
#define __deref_out_bcount_part(...)
#define __deref_out_ecount(...)
#define __deref_out_ecount_full(...)
#define __deref_out_ecount_opt(...)
#define __deref_out_ecount_part(...)
#define __deref_out_range(...)
#define __ecount(...)
#define __elem_readableTo(...)
#define __elem_writableTo(...)
#define __field_bcount(...)
#define __field_bcount_full(...)
#define __field_bcount_opt(...)
#define __field_bcount_part(...)
#define __field_ecount(...)
#define __field_ecount_full(...)
#define __field_ecount_opt(...)
#define __field_ecount_part(...)
#define __field_range(...)
#define __file_parser(...)
#define __in_bcount(...)
#define __in_bcount_opt(...)
#define __in_bcount_z(...)
#define __in_bound(...)
#define __in_ecount(...)
#define __in_ecount_opt(...)
#define __in_ecount_z(...)
#define __in_ecount_z_opt(...)
#define __in_range(...)
#define __in_xcount(...)
#define __in_xcount_opt(...)
#define __inexpressible_readableTo(...)
#define __inexpressible_writableTo(...)
#define __inout_bcount(...)
#define __inout_bcount_full(...)
#define __inout_bcount_full_opt(...)
#define __inout_bcount_opt(...)
#define __inout_bcount_part(...)
#define __inout_bcount_part_opt(...)
#define __inout_bcount_z(...)
#define __inout_ecount(...)
#define __inout_ecount_full(...)
#define __inout_ecount_full_opt(...)
#define __inout_ecount_opt(...)
#define __inout_ecount_part(...)
#define __inout_ecount_part_opt(...)
#define __inout_ecount_z(...)
#define __inout_ecount_z_opt(...)
#define __on_failure(...)
#define __out_bcount(...)
#define __out_bcount_full(...)
#define __out_bcount_full_opt(...)
#define __out_bcount_opt(...)
#define __out_bcount_part(...)
#define __out_bcount_part_opt(...)
#define __out_bcount_z(...)
#define __out_bcount_z_opt(...)
#define __out_ecount(...)
#define __out_ecount_full(...)
#define __out_ecount_full_opt(...)
#define __out_ecount_opt(...)
#define __out_ecount_part(...)
#define __out_ecount_part_opt(...)
#define __out_ecount_z(...)
#define __out_ecount_z_opt(...)
#define __out_range(...)
#define __out_xcount(...)
#define __out_xcount_opt(...)
#define __range(...)
#define __readableTo(...)
#define __return_success(...)
#define __struct_bcount(...)
#define __struct_xcount(...)
#define __success(...)
#define __typefix(...)
#define __writableTo(...)
#define __xcount(...)

#define __analysis_noreturn
#define SAL_deref
#define SAL_ref
#define SAL_unused
#define _SA_annotes0(...)
#define _SA_annotes1(...)

#endif // NMRFUZZ_MOCK

#endif
