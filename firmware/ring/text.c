/* text.c: short texts. Contract: text.h. Host-buildable. */
#include "text.h"

struct writer {
    char *to;
    uint32_t length, capacity;
};

static void put(struct writer *writer, char character)
{
    if (writer->length + 1 < writer->capacity)
        writer->to[writer->length++] = character;
}

static void put_number(struct writer *writer, uint32_t value, uint32_t base)
{
    char digits[10];
    uint32_t count = 0;
    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    while (count)
        put(writer, digits[--count]);
}

static void put_string(struct writer *writer, const char *text)
{
    while (*text)
        put(writer, *text++);
}

uint32_t text_print_list(char *to, uint32_t capacity, const char *format, va_list arguments)
{
    struct writer writer = {.to = to, .capacity = capacity};
    for (; *format; format++) {
        if (*format != '%') {
            put(&writer, *format);
            continue;
        }
        switch (*++format) {
        case 's':
            put_string(&writer, va_arg(arguments, const char *));
            break;
        case 'u':
            put_number(&writer, va_arg(arguments, uint32_t), 10);
            break;
        case 'x':
            put_number(&writer, va_arg(arguments, uint32_t), 16);
            break;
        case 'd': {
            int32_t value = va_arg(arguments, int32_t);
            if (value < 0)
                put(&writer, '-');
            put_number(&writer, value < 0 ? 0u - (uint32_t)value : (uint32_t)value, 10);
            break;
        }
        case 'c':
            put(&writer, (char)va_arg(arguments, int));
            break;
        case 0: /* the format ends in '%' */
            put(&writer, *--format);
            break;
        default:
            put(&writer, *format);
            break;
        }
    }
    if (capacity)
        to[writer.length] = 0;
    return writer.length;
}

uint32_t text_print(char *to, uint32_t capacity, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    uint32_t length = text_print_list(to, capacity, format, arguments);
    va_end(arguments);
    return length;
}
