/* crc32.h: zlib's CRC-32 (reflected 0x04C11DB7). The one checksum of boot, serial frames and link. */
#ifndef CRC32_H
#define CRC32_H

#include <stdint.h>

#define CRC32_START 0u

/* Fills the table; call once before the others. */
void crc32_init(void);

/* Continues `crc` (CRC32_START at first) over size bytes; the result is final at every point. */
uint32_t crc32_update(uint32_t crc, const void *data, uint32_t size_bytes);

#endif
