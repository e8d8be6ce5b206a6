/* frames_host.c: firmware/ring/frame.c for the host. Reads length-prefixed (u32) items from stdin.
 * `encode`: a body without CRC -> the wire bytes. `decode`: a piece -> the body, or length 0. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc32.h"
#include "frame.h"

static void put(const uint8_t *bytes, uint32_t size)
{
    fwrite(&size, sizeof size, 1, stdout);
    fwrite(bytes, 1, size, stdout);
}

int main(int argc, char **argv)
{
    int encode = argc > 1 && !strcmp(argv[1], "encode");
    uint32_t size;
    crc32_init();
    while (fread(&size, sizeof size, 1, stdin) == 1) {
        /* exact sizes, so that the address sanitizer sees an access beyond them */
        uint8_t *item = malloc(size + FRAME_CRC_BYTES);
        uint8_t *wire = malloc(FRAME_WIRE_BYTES_MAX);
        if (fread(item, 1, size, stdin) != size)
            return 1;
        if (encode) {
            uint32_t count = frame_encode(item, size + FRAME_CRC_BYTES, wire);
            put(wire, count);
        } else {
            uint8_t *piece = malloc(size ? size : 1);
            memcpy(piece, item, size);
            uint32_t count = frame_decode(piece, size);
            put(piece, count);
            free(piece);
        }
        free(item);
        free(wire);
    }
    return 0;
}
