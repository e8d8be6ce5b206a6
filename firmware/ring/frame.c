/* frame.c: COBS and CRC-32 of serial frames. Contract: frame.h.
 * COBS: each zero is replaced by the distance to the next one; a run of 254 bytes without one starts a new
 * group. Source: Cheshire & Baker 1999. */
#include "frame.h"

#include "crc32.h"

uint32_t frame_encode(uint8_t *body, uint32_t body_bytes, uint8_t *to)
{
    uint32_t crc = crc32_update(CRC32_START, body, body_bytes - FRAME_CRC_BYTES);
    for (uint32_t i = 0; i < FRAME_CRC_BYTES; i++)
        body[body_bytes - FRAME_CRC_BYTES + i] = (uint8_t)(crc >> i * 8);

    uint32_t out = 0;
    to[out++] = 0;
    uint32_t code_at = out++;
    uint8_t code = 1;
    for (uint32_t i = 0; i < body_bytes; i++) {
        if (body[i]) {
            to[out++] = body[i];
            code++;
        }
        /* A group that is full at the very end needs no empty one behind it. */
        if (!body[i] || (code == 0xFF && i + 1 < body_bytes)) {
            to[code_at] = code;
            code_at = out++;
            code = 1;
        }
    }
    to[code_at] = code;
    to[out++] = 0;
    return out;
}

static uint32_t cobs_decode(uint8_t *piece, uint32_t piece_bytes)
{
    uint32_t out = 0;
    uint32_t in = 0;
    while (in < piece_bytes) {
        uint32_t code = piece[in++];
        if (code == 0 || in + code - 1 > piece_bytes)
            return 0;
        for (uint32_t i = 1; i < code; i++)
            piece[out++] = piece[in++];
        if (code != 0xFF && in < piece_bytes)
            piece[out++] = 0;
    }
    return out;
}

uint32_t frame_decode(uint8_t *piece, uint32_t piece_bytes)
{
    uint32_t size = cobs_decode(piece, piece_bytes);
    if (size < FRAME_HEAD_BYTES + FRAME_CRC_BYTES || size > FRAME_BODY_BYTES_MAX)
        return 0;
    size -= FRAME_CRC_BYTES;
    uint32_t crc = 0;
    for (uint32_t i = 0; i < FRAME_CRC_BYTES; i++)
        crc |= (uint32_t)piece[size + i] << i * 8;
    return crc == crc32_update(CRC32_START, piece, size) ? size : 0;
}
