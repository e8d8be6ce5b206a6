/* link_fuzz.c: frames of the link (firmware/link). Input: the board's role and buffer, then what the other end does.
 * Either the wires follow the input, access by access; or the other end keeps to the handshake and sends bursts whose bytes
 * come from the input, with their CRC made right or not. Buffers are exactly as large as the board was told. */
#include "crc32.h"
#include "link.h"
#include "messages.h"
#include "port.h"

#include "../firmware/pins.h"
#include "fuzz_input.h"

enum {
    POLLS_MAX = 5000,
    BURST_BYTES_MAX = 512,
    OPEN_LIMIT_US = 2000,
};

static uint32_t clock_us;
static struct link link;
static struct link_rx rx; /* of the other end */
static struct link_tx tx;
static uint8_t burst[BURST_BYTES_MAX], answer[LINK_ANSWER_BYTES];

uint32_t port_now_us(void) { return clock_us; }

static void end_frame(struct input *input)
{
    uint8_t shape = input_byte(input);
    struct link_header header = {
        .magic = LINK_MAGIC, .type = shape, .sequence = link.delivered_sequence + (shape & 1)};
    header.length = input_byte(input) & 0x7F;
    if (shape & 32)
        header.length = link.capacity + (header.length & 3) - 1;
    if (shape & 2)
        header.length = input_word(input);
    if (shape & 4)
        header.sequence = input_word(input);
    if (shape & 8)
        header.magic = (uint16_t)input_word(input);
    header.crc32 = crc32_update(CRC32_START, &header, LINK_HEADER_BYTES - LINK_CRC_BYTES) ^ (shape >> 7);
    uint32_t payload = header.length < BURST_BYTES_MAX - 64 ? header.length : BURST_BYTES_MAX - 64;
    memcpy(burst, &header, sizeof header);
    input_bytes(input, burst + LINK_HEADER_BYTES, payload);
    uint32_t crc32 = crc32_update(CRC32_START, burst + LINK_HEADER_BYTES, payload) ^ (shape >> 6 & 1);
    memcpy(burst + LINK_HEADER_BYTES + payload, &crc32, sizeof crc32);
    uint32_t size = LINK_HEADER_BYTES + (payload ? payload + LINK_CRC_BYTES : 0) + (shape & 16 ? 1 : 0);
    link_tx_start(&tx, &pins_bank[1], burst, size, 1);
}

static void end_answer(struct input *input)
{
    uint8_t shape = input_byte(input);
    struct link_answer sent = {
        .verdict = shape & 3, .type = link.header.type, .sequence = (uint16_t)link.header.sequence};
    if (shape & 4)
        sent.sequence = (uint16_t)input_word(input);
    if (shape & 8)
        sent.type = input_byte(input);
    sent.crc32 = crc32_update(CRC32_START, &sent, LINK_ANSWER_BYTES - LINK_CRC_BYTES) ^ (shape >> 7);
    memcpy(answer, &sent, sizeof sent);
    link_tx_start(&tx, &pins_bank[1], answer, LINK_ANSWER_BYTES, 1);
}

static void end_listens(int sends)
{
    link_rx_start(&rx, &pins_bank[1], burst, sends ? LINK_HEADER_BYTES : LINK_ANSWER_BYTES);
    if (!sends)
        link_rx_end(&rx);
}

/* The other end, a few accesses of it: 1 while its burst goes on. */
static int end_step(int end_sends, uint32_t accesses)
{
    pins_board = 1;
    enum handshake_step step = end_sends ? link_tx_step(&tx, accesses) : link_rx_step(&rx, accesses);
    if (step == HANDSHAKE_SEGMENT) {
        struct link_header header;
        memcpy(&header, burst, sizeof header);
        if (header.length == 0 || header.length > BURST_BYTES_MAX - 64)
            link_rx_end(&rx);
        else
            link_rx_segment(&rx, burst + LINK_HEADER_BYTES, header.length + LINK_CRC_BYTES, 0, 1);
    }
    pins_board = 0;
    return step != HANDSHAKE_DONE;
}

static void wires_follow_input(struct input *input)
{
    pins_board = 1;
    if (input->left) {
        uint8_t byte = input_byte(input);
        port_outputs(0x3FFu << 4 & ((uint32_t)(byte & 1) << 13 | (uint32_t)(byte >> 1 & 1) << 12 |
                                    (byte & 4 ? 0xFFu << 4 : 0)));
        port_inputs(byte & 0x20 ? 0x3FFu << 4 : 0);
        port_clear(0x3FFu << 4);
        port_set((uint32_t)(byte >> 3 & 1) << 13 | (uint32_t)(byte >> 4 & 1) << 12 |
                 (byte & 0x40 ? 0xA5u : byte) << 4);
    } else {
        port_inputs(0x3FFu << 4);
    }
    pins_board = 0;
}

static void start(struct input *input, int sends, uint8_t *buffer, uint32_t capacity)
{
    if (sends) {
        input_bytes(input, buffer, capacity);
        link_send_start(&link, LINK_ACTIVATION, buffer, capacity, OPEN_LIMIT_US);
        end_listens(1);
    } else {
        link_receive_start(&link, buffer, capacity, OPEN_LIMIT_US);
        end_frame(input);
    }
}

static enum link_status run(struct input *input, int sends, int free_wires)
{
    int end_sends = !sends;
    enum link_status status = LINK_PENDING;
    for (int polls = 0; polls < POLLS_MAX && status == LINK_PENDING; polls++) {
        uint8_t turn = free_wires ? 1 : input_byte(input);
        clock_us += input->left ? turn >> 4 : 100;
        if (free_wires) {
            wires_follow_input(input);
        } else if (!end_step(end_sends, 1 + (turn & 7u))) {
            end_sends = !end_sends;
            if (!end_sends)
                end_listens(sends);
            else if (sends)
                end_answer(input);
            else
                end_frame(input);
        }
        status = link_poll(&link);
        CHECK(sends || link.received_length <= link.capacity);
    }
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    uint8_t shape = input_byte(&input);
    int sends = shape & 1;
    uint32_t capacity = input_byte(&input);
    uint8_t *buffer = malloc(capacity ? capacity : 1);
    crc32_init();
    memset(&pins, 0, sizeof pins);
    clock_us = 0xFFFFFF00u;
    pins_board = 0;
    link_init(&link, &pins_bank[0], 0);
    link.accesses_per_poll = 1 + (shape >> 4);
    link.attempts_max = 2;
    for (int frame = 0; frame < 3 && input.left; frame++) {
        start(&input, sends, buffer, capacity);
        enum link_status status = run(&input, sends, shape & 2);
        if (status == LINK_PENDING)
            link_abort(&link);
        CHECK(status == LINK_OK || pins.driven[0] == 0);
        if (status == LINK_OK && !sends)
            CHECK(link.received_length <= capacity);
    }
    free(buffer);
    return 0;
}
