/* uart.h: what the line (uart.c) and the registers of the two UARTs share. */
#ifndef UART_H
#define UART_H

#include "internal.h"

enum {
    CR_EN = 1 << 0,
    CR_TXE = 1 << 8,
    CR_RXE = 1 << 9,
    LCRH_FEN = 1 << 4
};
enum {
    DR_FE = 1 << 8,
    DR_OE = 1 << 11,
    RSR_FE = 1 << 0,
    RSR_OE = 1 << 3,
    RIS_RX = 1 << 4,
    RIS_TX = 1 << 5,
    RIS_RT = 1 << 6,
    RIS_OE = 1 << 10,
    RIS_FE = 1 << 7
};
enum {
    ROUTE_NONE,
    ROUTE_PL011,
    ROUTE_MINI
};
enum {
    PIN_TX = 14
};

/* Which UART a pin is routed to. */
uint32_t uart_route(const board_t *b, uint32_t pin);

/* 0: no divisor has been latched. */
uint32_t uart_pl011_baud(const board_t *b);
uint32_t uart_mini_baud(const board_t *b);

/* Bytes in the transmit FIFO: those that have not begun to leave. */
uint32_t uart_tx_level(const uart_t *u, uint64_t now_ps);

/* A byte is written to a UART with a FIFO of that depth; routed: its TX reaches the pin. */
void uart_transmit(board_t *b, uint8_t byte, uint32_t baud, uint32_t depth, bool routed, uint64_t now_ps);

uint64_t uart_idle_ps(const board_t *b); /* when the receive FIFO's time-out comes; NEVER: it is empty */

/* The oldest received character with its flags; 0 when there is none. */
uint16_t uart_take(uart_t *u);

#endif
