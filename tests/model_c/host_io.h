/* host_io.h: what the host programs of these tests read and print. */
#ifndef HOST_IO_H
#define HOST_IO_H

#include "taps.h"

/* A file's bytes in memory of exactly its size, so that a sanitizer sees one byte too many. Ends the program on failure. */
void *load(const char *path, uint32_t *size_bytes);

/* Prints "tap RANK KEY CRC COUNT MIN_BITS MAX_BITS NONFINITE FLAGS" for every tap, then "dropped RANK N". */
void print_taps(uint32_t rank, const struct tap_log *log);

#endif
