// pshpack2.h - structures from here on are packed to 2. Not guarded: each use pairs with poppack.h.
#pragma pack(push, 2)
