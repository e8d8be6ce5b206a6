/* clrsb.c: __clrsbdi2, which libunicorn.a takes from libgcc and zig's runtime lacks.
 * Counts the bits below the sign bit that equal it. */
#include <stdint.h>

int __clrsbdi2(int64_t value);

int __clrsbdi2(int64_t value)
{
    uint64_t folded = (uint64_t)(value < 0 ? ~value : value);
    return folded == 0 ? 63 : __builtin_clzll(folded) - 1;
}
