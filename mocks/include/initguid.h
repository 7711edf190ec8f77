// initguid.h - from here on DEFINE_GUID defines its GUID. Source: page "Including GUIDs in Driver Code".
#ifndef INITGUID
#define INITGUID
#endif
#include <guiddef.h>
