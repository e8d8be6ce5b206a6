/* crc32.c: zlib's CRC-32, slicing by four: one word per step through four tables of 1 KB. Contract: crc32.h. */
#include "crc32.h"

static uint32_t table[4][256];

void crc32_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t word = i;
        for (int bit = 0; bit < 8; bit++)
            word = word >> 1 ^ (0xEDB88320u & (0u - (word & 1)));
        table[0][i] = word;
    }
    for (uint32_t slice = 1; slice < 4; slice++)
        for (uint32_t i = 0; i < 256; i++)
            table[slice][i] = table[slice - 1][i] >> 8 ^ table[0][table[slice - 1][i] & 0xFF];
}

static uint32_t update_bytes(uint32_t crc, const uint8_t *bytes, uint32_t size_bytes)
{
    for (uint32_t i = 0; i < size_bytes; i++)
        crc = crc >> 8 ^ table[0][(crc ^ bytes[i]) & 0xFF];
    return crc;
}

uint32_t crc32_update(uint32_t crc, const void *data, uint32_t size_bytes)
{
    const uint8_t *bytes = data;
    uint32_t before = (0u - (uint32_t)(uintptr_t)bytes) & 3; /* words are read at multiples of four */
    before = before < size_bytes ? before : size_bytes;
    crc = update_bytes(~crc, bytes, before);
    const uint32_t *words = (const uint32_t *)(const void *)(bytes + before);
    uint32_t count = (size_bytes - before) / 4;
    for (uint32_t i = 0; i < count; i++) {
        crc ^= words[i];
        crc = table[3][crc & 0xFF] ^ table[2][crc >> 8 & 0xFF] ^ table[1][crc >> 16 & 0xFF] ^
              table[0][crc >> 24];
    }
    return ~update_bytes(crc, bytes + before + count * 4, size_bytes - before - count * 4);
}
