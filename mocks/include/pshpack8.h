// pshpack8.h - structures from here on are packed to 8. Not guarded: each use pairs with poppack.h.
#pragma pack(push, 8)
