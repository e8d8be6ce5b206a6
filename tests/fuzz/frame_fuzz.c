/* frame_fuzz.c: serial frames (firmware/ring/frame.c). Input: a byte that says what follows: bytes between two
 * delimiters, for the decoder, in memory of exactly their size; or a body, which must come back as it was. */
#include "crc32.h"
#include "frame.h"

#include "fuzz_input.h"

static void decode(const uint8_t *data, uint32_t size)
{
    uint8_t *piece = malloc(size ? size : 1);
    memcpy(piece, data, size);
    uint32_t found = frame_decode(piece, size);
    CHECK(found <= size && found <= FRAME_BODY_BYTES_MAX - FRAME_CRC_BYTES);
    CHECK(found == 0 || found >= FRAME_HEAD_BYTES);
    free(piece);
}

static void round_trip(const uint8_t *data, uint32_t size)
{
    if (size < FRAME_HEAD_BYTES || size > FRAME_BODY_BYTES_MAX - FRAME_CRC_BYTES)
        return;
    uint32_t body_bytes = size + FRAME_CRC_BYTES;
    uint8_t *body = malloc(body_bytes);
    uint8_t *wire = malloc(body_bytes + body_bytes / 254 + 1 + 2);
    memcpy(body, data, size);
    uint32_t wire_bytes = frame_encode(body, body_bytes, wire);
    CHECK(wire_bytes <= FRAME_WIRE_BYTES_MAX && wire[0] == 0 && wire[wire_bytes - 1] == 0);
    CHECK(memchr(wire + 1, 0, wire_bytes - 2) == NULL);
    CHECK(frame_decode(wire + 1, wire_bytes - 2) == size && memcmp(wire + 1, data, size) == 0);
    free(body);
    free(wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    crc32_init();
    if (size == 0)
        return 0;
    if (data[0] & 1)
        decode(data + 1, (uint32_t)size - 1);
    else
        round_trip(data + 1, (uint32_t)size - 1);
    return 0;
}
