/* console.c: the board's end of the serial line. Contract: console.h.
 * Two byte rings stand between the UART and the frames: the receive ring is filled whenever somebody polls,
 * the transmit ring lets a job go on while a long response is on its way. */
#include "console.h"

#include "frame.h"
#include "runtime.h"
#include "text.h"
#include "timer.h"
#include "uart.h"

enum {
    RX_RING_BYTES = 8192, /* more than one longest frame */
    TX_RING_BYTES = 16384,
    EVENT_BYTES_MAX = 256,
    LOG_BYTES_MAX = 240,
    FLUSH_LIMIT_US = 3000000, /* a full ring at 115200 baud takes 1.4 s */
};

struct ring {
    uint32_t head, tail; /* free-running; head - tail bytes are inside */
};

static struct {
    struct ring rx, tx;
    uint8_t rx_bytes[RX_RING_BYTES];
    uint8_t tx_bytes[TX_RING_BYTES];
    uint8_t piece[FRAME_WIRE_BYTES_MAX];
    uint32_t piece_size;
    uint8_t wire[FRAME_WIRE_BYTES_MAX];
    uint8_t response[FRAME_BODY_BYTES_MAX];
    uint32_t response_size; /* 0: none kept */
    uint16_t served;        /* sequence of the command that the kept response answers */
    uint8_t serving;        /* a session has begun: `served` means something */
    uint16_t unasked;       /* sequence of the next event or log */
    uint32_t bad_frames;
    uint32_t commands;
    uint32_t lost_bytes;
} console;

void console_poll(void)
{
    int byte;
    while ((byte = uart_read()) >= 0)
        if (console.rx.head - console.rx.tail == RX_RING_BYTES)
            console.lost_bytes++; /* the frame's CRC will tell */
        else
            console.rx_bytes[console.rx.head++ % RX_RING_BYTES] = (uint8_t)byte;
    while (console.tx.head != console.tx.tail &&
           uart_try_write(console.tx_bytes[console.tx.tail % TX_RING_BYTES]))
        console.tx.tail++;
}

void console_flush(void)
{
    uint32_t start = timer_now_us();
    while (console.tx.head != console.tx.tail && timer_now_us() - start < FLUSH_LIMIT_US)
        console_poll();
    uart_flush();
}

static uint32_t tx_room(void) { return TX_RING_BYTES - (console.tx.head - console.tx.tail); }

static void transmit(uint8_t *body, uint32_t body_bytes)
{
    uint32_t size = frame_encode(body, body_bytes, console.wire);
    uint32_t start = timer_now_us();
    while (tx_room() < size && timer_now_us() - start < FLUSH_LIMIT_US)
        console_poll();
    for (uint32_t i = 0; i < size && tx_room(); i++)
        console.tx_bytes[console.tx.head++ % TX_RING_BYTES] = console.wire[i];
    console_poll();
}

static void send_unasked(uint8_t kind, uint8_t code, const void *payload, uint32_t size)
{
    uint8_t body[FRAME_HEAD_BYTES + EVENT_BYTES_MAX + FRAME_CRC_BYTES];
    struct frame_head head = {.kind = kind, .code = code, .sequence = console.unasked++};
    if (size > EVENT_BYTES_MAX)
        size = EVENT_BYTES_MAX;
    if (tx_room() < size + 32)
        return;
    memcpy(body, &head, sizeof head);
    memcpy(body + FRAME_HEAD_BYTES, payload, size);
    transmit(body, FRAME_HEAD_BYTES + size + FRAME_CRC_BYTES);
}

void console_event(enum event_code code, const void *payload, uint32_t payload_bytes)
{
    send_unasked(KIND_EVENT, (uint8_t)code, payload, payload_bytes);
}

void console_log(enum level_code level, const char *format, ...)
{
    char text[LOG_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    uint32_t length = text_print_list(text, sizeof text, format, arguments);
    va_end(arguments);
    send_unasked(KIND_LOG, (uint8_t)level, text, length);
}

uint8_t *console_response_payload(void) { return console.response + FRAME_HEAD_BYTES + 1; }

void console_respond(enum status_code status, uint32_t payload_bytes)
{
    console.response[FRAME_HEAD_BYTES] = (uint8_t)status;
    console.response_size = FRAME_HEAD_BYTES + 1 + payload_bytes + FRAME_CRC_BYTES;
    transmit(console.response, console.response_size);
}

uint32_t console_bad_frames(void) { return console.bad_frames; }

uint32_t console_commands(void) { return console.commands; }

/* Moves received bytes into the piece up to the next delimiter; 1 when a piece is complete. */
static int next_piece(void)
{
    while (console.rx.head != console.rx.tail) {
        uint8_t byte = console.rx_bytes[console.rx.tail++ % RX_RING_BYTES];
        if (byte == 0) {
            if (console.piece_size)
                return 1;
        } else if (console.piece_size < sizeof console.piece) {
            console.piece[console.piece_size++] = byte;
        } /* longer than any frame: the CRC over what was kept will not hold */
    }
    return 0;
}

/* Exactly once: 1 when this command is to be executed. */
static int is_new(const struct frame_head *head)
{
    if (head->code == COMMAND_IDENTIFY || !console.serving)
        return 1;
    if (head->sequence == console.served) {
        if (console.response_size)
            transmit(console.response, console.response_size);
        return 0;
    }
    return (int16_t)(uint16_t)(head->sequence - console.served) > 0;
}

int console_take(struct console_command *command)
{
    while (next_piece()) {
        struct frame_head head;
        uint32_t size = frame_decode(console.piece, console.piece_size);
        console.piece_size = 0;
        if (!size) {
            console.bad_frames++;
            continue;
        }
        memcpy(&head, console.piece, sizeof head);
        if (head.kind != KIND_COMMAND)
            continue;
        console.commands++;
        if (!is_new(&head))
            continue;
        console.serving = 1;
        console.served = head.sequence;
        console.response_size = 0;
        head.kind = KIND_RESPONSE;
        memcpy(console.response, &head, sizeof head);
        *command = (struct console_command){.code = head.code,
                                            .payload = console.piece + FRAME_HEAD_BYTES,
                                            .size_bytes = size - FRAME_HEAD_BYTES};
        return 1;
    }
    return 0;
}
