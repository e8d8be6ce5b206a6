/* crc32.c: zlib's CRC-32, one table of 256 words. Contract: crc32.h. */
#include "crc32.h"

static uint32_t table[256];

void crc32_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t word = i;
        for (int bit = 0; bit < 8; bit++)
            word = word >> 1 ^ (0xEDB88320u & (0u - (word & 1)));
        table[i] = word;
    }
}

uint32_t crc32_update(uint32_t crc, const void *data, uint32_t size_bytes)
{
    const uint8_t *bytes = data;
    crc = ~crc;
    for (uint32_t i = 0; i < size_bytes; i++)
        crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 0xFF];
    return ~crc;
}
