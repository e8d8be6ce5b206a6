/* text_host.c: firmware/ring/text.c for the host. Argument 1: the capacity. Argument 2: a format, which is put at the
 * end of a piece of memory of its own. Prints the text made of it, 7 and "seven", and its length. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    uint32_t capacity = (uint32_t)atoi(argv[1]);
    size_t bytes = strlen(argv[2]) + 1;
    char *format = malloc(bytes);
    char *text = malloc(capacity);
    memcpy(format, argv[2], bytes);
    uint32_t length = text_print(text, capacity, format, 7u, "seven");
    printf("%s %u", text, length);
    free(text);
    free(format);
    return 0;
}
