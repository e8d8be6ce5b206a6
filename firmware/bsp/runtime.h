/* runtime.h: the few C library functions that the firmware uses. Contracts as in C11 7.24. */
#ifndef RUNTIME_H
#define RUNTIME_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *text);

#endif
