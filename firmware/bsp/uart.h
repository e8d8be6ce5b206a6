/* uart.h: PL011 UART0 on GPIO 14/15, polled, 8N1.
 * Source: BCM2835 ARM Peripherals ch. 13; ARM DDI 0183. Owns UART0 and GPIO 14/15. */
#ifndef UART_H
#define UART_H

#include <stdint.h>

enum {
    UART_RX_EMPTY = -1,
    UART_FIFO_BYTES = 16,
};

/* Routes UART0 to GPIO 14/15 and sets it up for the baud nearest to `baud` that a UART clock of clock_hz
 * gives. Waits (bounded) until bytes still being sent are out. Returns the baud really achieved. */
uint32_t uart_init(uint32_t clock_hz, uint32_t baud);

/* The baud that uart_init and uart_set_baud would give, in whole bauds. */
uint32_t uart_real_baud(uint32_t clock_hz, uint32_t baud);

/* The same for a UART that is set up: only the baud changes. */
uint32_t uart_set_baud(uint32_t clock_hz, uint32_t baud);

/* The next received byte, or UART_RX_EMPTY. Counts overruns. */
int uart_read(void);

/* Puts one byte into the transmit FIFO if there is room; returns 1 if so, 0 if not. */
int uart_try_write(uint8_t byte);

/* Waits for room (bounded by the line's speed) and writes. */
void uart_write(uint8_t byte);

/* Waits until the last bit has left the pin. */
void uart_flush(void);

/* Receive FIFO overruns since start-up. */
uint32_t uart_overruns(void);

/* Bytes received without a stop bit since start-up: the other end's baud is another one. */
uint32_t uart_framing_errors(void);

#endif
