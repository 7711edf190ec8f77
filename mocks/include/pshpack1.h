// pshpack1.h - structures from here on are packed to 1. Not guarded: each use pairs with poppack.h.
#pragma pack(push, 1)
