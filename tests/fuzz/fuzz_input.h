/* fuzz_input.h: an input of the fuzzer, read from its front; zeros when it is used up. And the one way to say that a
 * promise was broken: CHECK ends the program, so that libFuzzer keeps the input. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(promise)                                                                                       \
    do {                                                                                                     \
        if (!(promise)) {                                                                                    \
            fprintf(stderr, "broken promise: %s (%s:%d)\n", #promise, __FILE__, __LINE__);                   \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

struct input {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t input_byte(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

static inline uint32_t input_word(struct input *input)
{
    uint32_t word = input_byte(input);
    word |= (uint32_t)input_byte(input) << 8;
    word |= (uint32_t)input_byte(input) << 16;
    return word | (uint32_t)input_byte(input) << 24;
}

/* Fills `to` as far as the input reaches; returns the bytes that came from it. The rest is zeros. */
static inline size_t input_bytes(struct input *input, void *to, size_t size)
{
    size_t found = size < input->left ? size : input->left;
    memset(to, 0, size);
    if (found)
        memcpy(to, input->at, found);
    input->at += found;
    input->left -= found;
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
