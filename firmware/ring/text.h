/* text.h: short texts for logs and refusals. */
#ifndef TEXT_H
#define TEXT_H

#include <stdarg.h>
#include <stdint.h>

/* Formats like snprintf with %s %u %d %x %c %% only (no widths; %x prints without 0x).
 * Returns the length, at most capacity - 1; always terminates. */
uint32_t text_print(char *to, uint32_t capacity, const char *format, ...);
uint32_t text_print_list(char *to, uint32_t capacity, const char *format, va_list arguments);

#endif
