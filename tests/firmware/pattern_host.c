/* pattern_host.c: the patterns of link tests on the host.
 * `fill KIND SEED SIZE PIECE` writes SIZE bytes to stdout, made in frames of PIECE bytes.
 * `check KIND SEED PIECE` checks stdin in frames of PIECE bytes; prints wrong bits per wire and the slips.
 * `crc` prints the checksum of stdin at every offset 0..4, each in two updates. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc32.h"
#include "pattern.h"

enum {
    INPUT_MAX = 1 << 20
};

static _Alignas(4) uint8_t input[INPUT_MAX];
static _Alignas(4) uint8_t piece_bytes[INPUT_MAX];

static uint32_t number(const char *text) { return (uint32_t)strtoul(text, 0, 0); }

static int fill(uint8_t kind, uint32_t seed, uint32_t size, uint32_t piece)
{
    struct pattern pattern;
    pattern_start(&pattern, kind, seed);
    for (uint32_t at = 0, frame = 0; at < size; at += piece, frame++) {
        uint32_t count = size - at < piece ? size - at : piece;
        pattern_frame(&pattern, frame);
        pattern_fill(&pattern, piece_bytes, count);
        fwrite(piece_bytes, 1, count, stdout);
    }
    return 0;
}

static int check(uint8_t kind, uint32_t seed, uint32_t piece)
{
    struct pattern pattern;
    struct pattern_check found;
    uint32_t size = (uint32_t)fread(input, 1, INPUT_MAX, stdin);
    uint32_t total = 0;
    pattern_start(&pattern, kind, seed);
    pattern_check_start(&found);
    for (uint32_t at = 0, frame = 0; at < size; at += piece, frame++) {
        uint32_t count = size - at < piece ? size - at : piece;
        memcpy(piece_bytes, input + at, count);
        pattern_frame(&pattern, frame);
        total += pattern_check(&pattern, &found, piece_bytes, count);
    }
    for (uint32_t wire = 0; wire < DATA_WIRES; wire++) {
        printf("%u ", found.wire_errors[wire]);
        total -= found.wire_errors[wire];
    }
    printf("%u %u\n", found.slips, (unsigned)found.bytes);
    return total != 0;
}

static int crc(void)
{
    uint32_t size = (uint32_t)fread(input, 1, INPUT_MAX, stdin);
    for (uint32_t at = 0; at <= 4 && at <= size; at++) {
        uint32_t half = (size - at) / 2;
        uint32_t first = crc32_update(CRC32_START, input + at, half);
        printf("%08x ", crc32_update(first, input + at + half, size - at - half));
    }
    return 0;
}

int main(int argc, char **argv)
{
    crc32_init();
    if (argc == 6 && !strcmp(argv[1], "fill"))
        return fill((uint8_t)number(argv[2]), number(argv[3]), number(argv[4]), number(argv[5]));
    if (argc == 5 && !strcmp(argv[1], "check"))
        return check((uint8_t)number(argv[2]), number(argv[3]), number(argv[4]));
    return argc == 2 && !strcmp(argv[1], "crc") ? crc() : 3;
}
