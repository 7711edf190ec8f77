// pshpack4.h - structures from here on are packed to 4. Not guarded: each use pairs with poppack.h.
#pragma pack(push, 4)
