/* link_frames_host.c: frames as boards make them, on the host, from the structures of link_frames.h.
 * `frame TYPE SOURCE SEQUENCE` writes the burst of a frame whose payload is stdin.
 * `answer VERDICT TYPE SEQUENCE` writes the burst that answers one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc32.h"
#include "link_frames.h"

enum {
    PAYLOAD_MAX = 1 << 16
};

static uint8_t payload[PAYLOAD_MAX];

static uint32_t number(const char *text) { return (uint32_t)strtoul(text, 0, 0); }

static int frame(uint32_t type, uint32_t source, uint32_t sequence)
{
    uint32_t length = (uint32_t)fread(payload, 1, sizeof payload, stdin);
    struct link_header header = {
        .magic = LINK_MAGIC,
        .type = (uint8_t)type,
        .source = (uint8_t)source,
        .sequence = sequence,
        .length = length,
    };
    header.crc32 = crc32_update(CRC32_START, &header, LINK_HEADER_BYTES - LINK_CRC_BYTES);
    fwrite(&header, 1, sizeof header, stdout);
    if (length) {
        uint32_t crc32 = crc32_update(CRC32_START, payload, length);
        fwrite(payload, 1, length, stdout);
        fwrite(&crc32, 1, sizeof crc32, stdout);
    }
    return 0;
}

static int answer(uint32_t verdict, uint32_t type, uint32_t sequence)
{
    struct link_answer answer = {
        .verdict = (uint8_t)verdict,
        .type = (uint8_t)type,
        .sequence = (uint16_t)sequence,
    };
    answer.crc32 = crc32_update(CRC32_START, &answer, LINK_ANSWER_BYTES - LINK_CRC_BYTES);
    fwrite(&answer, 1, sizeof answer, stdout);
    return 0;
}

int main(int count, char **words)
{
    crc32_init();
    if (count == 5 && strcmp(words[1], "frame") == 0)
        return frame(number(words[2]), number(words[3]), number(words[4]));
    if (count == 5 && strcmp(words[1], "answer") == 0)
        return answer(number(words[2]), number(words[3]), number(words[4]));
    return 2;
}
