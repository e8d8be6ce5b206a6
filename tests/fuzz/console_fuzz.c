/* console_fuzz.c: the board's end of the serial line (firmware/ring/console.c), UART and timer played here.
 * Input: steps, a byte each. 0: a byte for the line. 1: a good frame of some kind, code, sequence and payload. 2: the
 * board takes a command and answers. 3: an event. 4: a log line. What the board must keep: docs/protocol.md, section 2. */
#include "../ring/console.c"
#include "crc32.h"

#include "fuzz_input.h"

enum {
    LINE_BYTES_MAX = 1 << 16,
    TEXT_BYTES_MAX = 300,
};

static uint8_t line[LINE_BYTES_MAX];
static uint32_t line_from, line_to, clock_us;
static uint8_t line_slow; /* bytes that the FIFO takes before it is full once */
static uint8_t line_taken;
static int has_sequence;
static uint16_t sequence;

int uart_read(void) { return line_from < line_to ? line[line_from++] : UART_RX_EMPTY; }

int uart_try_write(uint8_t byte)
{
    (void)byte;
    clock_us += 1000;
    if (line_taken++ < line_slow)
        return 1;
    line_taken = 0;
    return 0;
}

void uart_flush(void) {}

uint32_t timer_now_us(void) { return clock_us += 100; }

static void put(uint8_t byte)
{
    if (line_to < LINE_BYTES_MAX)
        line[line_to++] = byte;
}

static void put_frame(struct input *input)
{
    static uint8_t body[FRAME_BODY_BYTES_MAX];
    static uint8_t wire[FRAME_WIRE_BYTES_MAX];
    uint8_t shape = input_byte(input);
    struct frame_head head = {.kind = shape & 7 ? KIND_COMMAND : shape >> 3 & 7};
    head.code = input_byte(input);
    head.sequence =
        (uint16_t)(shape & 0x80 ? input_word(input) : sequence + (uint32_t)(int8_t)input_byte(input));
    uint32_t payload = shape & 0x40 ? input_word(input) % (PAYLOAD_BYTES_MAX + 1) : input_byte(input);
    memcpy(body, &head, sizeof head);
    input_bytes(input, body + FRAME_HEAD_BYTES, payload);
    uint32_t size = frame_encode(body, FRAME_HEAD_BYTES + payload + FRAME_CRC_BYTES, wire);
    for (uint32_t i = 0; i < size; i++)
        put(wire[i]);
}

static void take(struct input *input)
{
    struct console_command command;
    if (!console_take(&command))
        return;
    CHECK(command.size_bytes <= PAYLOAD_BYTES_MAX);
    uint8_t *copy = malloc(command.size_bytes + 1);
    memcpy(copy, command.payload, command.size_bytes);
    free(copy);
    CHECK(!has_sequence || command.code == COMMAND_IDENTIFY ||
          (int16_t)(uint16_t)(console.served - sequence) > 0);
    has_sequence = 1;
    sequence = console.served;
    uint32_t size = input_word(input) % PAYLOAD_BYTES_MAX;
    input_bytes(input, console_response_payload(), size);
    console_respond(STATUS_OK, size);
}

static void step(struct input *input)
{
    char text[TEXT_BYTES_MAX];
    uint8_t action = input_byte(input);
    switch (action & 7) {
    case 0:
        put(input_byte(input));
        break;
    case 1:
        put_frame(input);
        break;
    case 2:
        take(input);
        break;
    case 3:
        input_bytes(input, text, sizeof text);
        console_event(EVENT_TOKEN, text, input_word(input) % sizeof text);
        break;
    case 4:
        input_bytes(input, text, sizeof text - 1);
        text[sizeof text - 1] = 0;
        console_log(LEVEL_INFO, "%s %u %d %x %c%%", text, input_word(input), (int)input_word(input),
                    input_word(input), (int)input_byte(input));
        break;
    default:
        line_slow = action;
        console_poll();
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    crc32_init();
    memset(&console, 0, sizeof console);
    line_from = line_to = line_taken = 0;
    line_slow = 16;
    has_sequence = sequence = 0;
    clock_us = 0xFFFFF000u;
    while (input.left)
        step(&input);
    console_flush();
    return 0;
}
