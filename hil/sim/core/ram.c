/* ram.c: memory that costs nothing until it is written.
 *
 * One unlinked file of seeded pseudo-random words is mapped privately over and over, so untouched RAM is
 * neither zero (as after a real power-up) nor resident. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

enum {
    PATTERN_BYTES = 4 << 20
};

int ram_pattern(sim_t *sim)
{
    char path[] = "/tmp/pi-ring-pattern-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    unlink(path);
    uint64_t *words = malloc(PATTERN_BYTES);
    int result = -1;
    if (words != NULL) {
        for (uint64_t i = 0; i < PATTERN_BYTES / 8; i++)
            words[i] = mix64(sim->seed + (i + 1) * 0x9E3779B97F4A7C15ull);
        result = write(fd, words, PATTERN_BYTES) == PATTERN_BYTES ? 0 : -1;
        free(words);
    }
    if (result != 0) {
        close(fd);
        return -1;
    }
    sim->pattern_fd = fd;
    return 0;
}

uint8_t *ram_map(sim_t *sim, uint64_t bytes)
{
    int flags = MAP_PRIVATE;
#ifdef MAP_NORESERVE
    flags |= MAP_NORESERVE;
#endif
    uint8_t *ram = mmap(NULL, bytes, PROT_NONE, flags | MAP_ANON, -1, 0);
    if (ram == MAP_FAILED)
        return NULL;
    for (uint64_t at = 0; at < bytes; at += PATTERN_BYTES) {
        uint64_t size = bytes - at < PATTERN_BYTES ? bytes - at : PATTERN_BYTES;
        if (mmap(ram + at, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, sim->pattern_fd, 0) ==
            MAP_FAILED) {
            munmap(ram, bytes);
            return NULL;
        }
    }
    return ram;
}

void ram_unmap(board_t *b)
{
    if (b->ram != NULL) {
        munmap(b->ram, b->setup.ram_bytes);
        b->ram = NULL;
    }
}
