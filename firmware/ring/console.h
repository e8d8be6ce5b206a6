/* console.h: the board's end of the serial line: commands in, responses, events and logs out.
 * Format and the exactly-once rule: docs/protocol.md, section 2. Python twin: hil/protocol/frames.py and
 * hil/board/channel.py. Owns the UART after boot and all buffers of the line. Nothing here waits, except
 * console_flush and a response that finds no room. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdint.h>

#include "messages.h"

struct console_command {
    uint8_t code;
    const uint8_t *payload; /* valid until the next console_take */
    uint32_t size_bytes;
};

/* Moves bytes between the UART's FIFOs and the buffers. Call it often: the FIFO holds 16 bytes. */
void console_poll(void);

/* The next command to execute, if one is there: returns 1. Repeated commands are answered with the kept
 * response in here, echoes of the past and damaged frames are dropped. */
int console_take(struct console_command *command);

/* Where the payload of the response to the command just taken is put: PAYLOAD_BYTES_MAX - 1 bytes. */
uint8_t *console_response_payload(void);

/* Sends the response to the command just taken and keeps it for a repetition. */
void console_respond(enum status_code status, uint32_t payload_bytes);

/* Sends an event; it is lost (and its number skipped) when the line is too far behind. */
void console_event(enum event_code code, const void *payload, uint32_t payload_bytes);

/* Sends a line of text; lost like an event. Format: text.h. */
void console_log(enum level_code level, const char *format, ...);

/* Waits (bounded) until everything has left the board. */
void console_flush(void);

/* Pieces that were no frame, since boot. */
uint32_t console_bad_frames(void);

/* Good command frames received, repeated ones too. */
uint32_t console_commands(void);

#endif
