/* host_io.c: files in, taps out. Contract: host_io.h. */
#include "host_io.h"

#include <stdio.h>
#include <stdlib.h>

#include "ops.h"

void *load(const char *path, uint32_t *size_bytes)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(2);
    }
    fseek(file, 0, SEEK_END);
    *size_bytes = (uint32_t)ftell(file);
    rewind(file);
    void *data = malloc(*size_bytes);
    if (data == NULL || fread(data, 1, *size_bytes, file) != *size_bytes)
        exit(2);
    fclose(file);
    return data;
}

void print_taps(uint32_t rank, const struct tap_log *log)
{
    for (uint32_t i = 0; i < log->count; i++) {
        const struct tap_record *e = &log->entries[i];
        printf("tap %u %08x %08x %u %08x %08x %u %u\n", rank, e->key, e->crc32, e->count,
               float_bits(e->minimum), float_bits(e->maximum), e->nonfinite, e->flags);
    }
    printf("dropped %u %u\n", rank, log->dropped);
}
