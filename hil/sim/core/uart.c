/* uart.c: a board's serial line, from its UARTs to the host, and the host's adapter.
 * The UARTs' registers: uart_pl011.c, uart_mini.c.
 *
 * Sources: BCM2835 ARM Peripherals ch. 2 and 13; ARM DDI 0183; elinux errata for the mini-UART.
 * A byte is 10 bit times. Bytes carry the baud they were sent at; where it differs from the receiver's by
 * more than 3 % the receiver gets garbage. GPIO 14/15 must route the UART: ALT0 PL011, ALT5 mini-UART. */
#include <stdlib.h>
#include <string.h>

#include "uart.h"

enum {
    ALT0 = 4,
    ALT5 = 2,
    PIN_RX = 15
};
#define BITS_PER_BYTE      10u
#define LIMIT_CORRUPT_RATE 0.0625

uint32_t uart_route(const board_t *b, uint32_t pin)
{
    uint32_t function = gpio_function(b, pin);
    return function == ALT0 ? ROUTE_PL011 : function == ALT5 ? ROUTE_MINI : ROUTE_NONE;
}

uint32_t uart_pl011_baud(const board_t *b)
{
    /* baud = clock / (16 * divisor), divisor in 64ths */
    return b->uart.divisor64 < 64u ? 0 : (uint32_t)((uint64_t)b->uart_hz * 4u / b->uart.divisor64);
}

uint32_t uart_mini_baud(const board_t *b) { return b->core_hz / (8u * (b->uart.mu_baud + 1u)); }

static uint64_t byte_ps(uint32_t baud) { return BITS_PER_BYTE * 1000000000000ull / baud; }

static double draw(uart_t *u)
{
    u->random += 0x9E3779B97F4A7C15ull;
    return (double)(mix64(u->random) >> 11) / 9007199254740992.0;
}

/* One bit flipped: by chance, and more often at a baud that is too much for the line. */
static uint8_t damaged(uart_t *u, uint8_t byte, uint32_t baud)
{
    double rate =
        u->limit_baud != 0 && baud > u->limit_baud ? LIMIT_CORRUPT_RATE : u->noise[SIM_NOISE_CORRUPT];
    return rate > 0 && draw(u) < rate ? (uint8_t)(byte ^ 1u << (mix64(u->random) & 7u)) : byte;
}

bool uart_enabled(const board_t *b) { return (b->uart.cr & CR_EN) != 0 || (b->uart.aux_enables & 1u) != 0; }

void uart_reset(board_t *b)
{
    uart_t *u = &b->uart;
    uint64_t now = b->sim->now_ps;
    uart_advance(b, now);
    u->rx_head = u->rx_count = 0;
    u->rx_overrun_next = u->tx_armed = false;
    u->ibrd = u->fbrd = u->lcrh = u->imsc = u->rsr = u->ris_sticky = u->divisor64 = 0;
    u->cr = CR_TXE | CR_RXE;
    u->ifls = 0x12;
    u->aux_enables = u->mu_ier = u->mu_lcr = u->mu_mcr = u->mu_baud = u->mu_scratch = u->mu_overrun = 0;
    u->mu_cntl = 3;
    while (u->tx_count > 0 && u->tx[(u->tx_head + u->tx_count - 1) % TX_RING].end_ps > now)
        u->tx_count--; /* what had not left is lost */
    u->tx_free_ps = now;
    if (u->tx_count == 0 && b->sim->due[b->index] != NEVER)
        sched_due(b, NEVER);
    b->driven_high |= 1ull << PIN_RX; /* the adapter's idle line */
}

/* enable_uart=1 on a board whose PL011 belongs to Bluetooth: the firmware sets the mini-UART up. */
void uart_boot(board_t *b)
{
    uint32_t baud = b->plan.mini_uart_baud;
    if (baud == 0)
        return;
    b->fsel[1] = (uint32_t)ALT5 << 12 | (uint32_t)ALT5 << 15;
    b->uart.aux_enables = 1;
    b->uart.mu_lcr = 3;
    b->uart.mu_baud = b->core_hz / (8u * baud) - 1u;
}

/* ---- host to board ------------------------------------------------------------------------------------ */

static bool bauds_agree(uint32_t a, uint32_t b)
{
    uint32_t larger = a > b ? a : b, smaller = a > b ? b : a;
    return smaller != 0 && (uint64_t)(larger - smaller) * 100u <= 3ull * larger;
}

static uint16_t garbled(uint8_t byte, uint32_t sent_baud, uint32_t read_baud, uint64_t time_ps)
{
    uint64_t noise = mix64(((uint64_t)sent_baud << 32 | read_baud) ^ mix64(time_ps + byte));
    uint16_t value = (uint16_t)(noise & 0xFFu);
    if (value == byte)
        value ^= 0x55u;
    return (uint16_t)(value | (noise & 0x700u ? DR_FE : 0u)); /* most bad bytes miss their stop bit */
}

static void receive(board_t *b, uint16_t character, uint32_t depth, uint64_t came_ps)
{
    uart_t *u = &b->uart;
    if (u->rx_count >= depth) {
        u->rx_overrun_next = true;
        u->rsr |= RSR_OE;
        u->ris_sticky |= RIS_OE;
        u->mu_overrun = 1;
        b->counters.uart_overruns++;
        return;
    }
    if (u->rx_overrun_next) {
        character |= DR_OE;
        u->rx_overrun_next = false;
    }
    u->rx[(u->rx_head + u->rx_count++) % PL011_FIFO] = character;
    b->counters.uart_received++;
    u->rx_ps = came_ps;
}

static void arrive(board_t *b, const line_byte_t *in)
{
    uart_t *u = &b->uart;
    uint32_t to = b->state == SIM_OFF ? ROUTE_NONE : uart_route(b, PIN_RX);
    if (to == ROUTE_PL011 && (u->cr & (CR_EN | CR_RXE)) == (CR_EN | CR_RXE) && uart_pl011_baud(b) != 0) {
        uint32_t baud = uart_pl011_baud(b);
        uint16_t c = bauds_agree(in->baud, baud) ? in->byte : garbled(in->byte, in->baud, baud, in->end_ps);
        if ((c & DR_FE) != 0)
            u->ris_sticky |= RIS_FE;
        uint32_t bits = 5u + (u->lcrh >> 5 & 3u);
        receive(b, (uint16_t)((c & 0xFF00u) | (c & ((1u << bits) - 1u))), u->lcrh & LCRH_FEN ? PL011_FIFO : 1,
                in->end_ps);
    } else if (to == ROUTE_MINI && (u->aux_enables & 1u) && (u->mu_cntl & 1u)) {
        uint32_t baud = uart_mini_baud(b);
        uint16_t c = bauds_agree(in->baud, baud) ? in->byte : garbled(in->byte, in->baud, baud, in->end_ps);
        /* Errata: LCR = 3 means 8 bits; anything else is 7. */
        receive(b, (uint16_t)(c & ((u->mu_lcr & 3u) == 3u ? 0xFFu : 0x7Fu)), MINI_FIFO, in->end_ps);
    }
}

void uart_advance(board_t *b, uint64_t now_ps)
{
    uart_t *u = &b->uart;
    while (u->to_board_count > 0) {
        line_byte_t in = u->to_board[u->to_board_head % u->to_board_capacity];
        if (in.end_ps > now_ps)
            return;
        u->to_board_head++;
        u->to_board_count--;
        arrive(b, &in);
    }
}

int sim_uart_write(sim_t *sim, uint32_t board, const uint8_t *data, uint32_t size)
{
    board_t *b = &sim->boards[board];
    uart_t *u = &b->uart;
    if (u->hung_up)
        return 0;
    if (u->to_board_count + 2u * size > u->to_board_capacity) { /* each byte may come twice */
        size_t capacity = u->to_board_capacity ? u->to_board_capacity : 1024;
        while (capacity < u->to_board_count + 2u * size)
            capacity *= 2;
        line_byte_t *grown = malloc(capacity * sizeof *grown);
        if (grown == NULL)
            return -1;
        for (size_t i = 0; i < u->to_board_count; i++)
            grown[i] = u->to_board[(u->to_board_head + i) % u->to_board_capacity];
        free(u->to_board);
        u->to_board = grown;
        u->to_board_head = 0;
        u->to_board_capacity = capacity;
    }
    uint64_t at = sim->now_ps + HOST_LATENCY_PS;
    at = u->line_free_ps > at ? u->line_free_ps : at;
    for (uint32_t i = 0; i < size; i++) {
        uint8_t byte = data[i];
        at += byte_ps(u->host_baud);
        if (u->noise[SIM_NOISE_DROP] > 0 && draw(u) < u->noise[SIM_NOISE_DROP])
            continue;
        byte = damaged(u, byte, u->host_baud);
        bool twice = u->noise[SIM_NOISE_DUPLICATE] > 0 && draw(u) < u->noise[SIM_NOISE_DUPLICATE];
        for (int copy = 0; copy <= twice; copy++) {
            at += copy ? byte_ps(u->host_baud) : 0;
            u->to_board[(u->to_board_head + u->to_board_count++) % u->to_board_capacity] =
                (line_byte_t){byte, u->host_baud, at};
        }
    }
    u->line_free_ps = at;
    if (b->state == SIM_SLEEPING && b->sleep_period_ticks != 0 &&
        (b->poll.seen_mask & (1u << POLL_FR | 1u << POLL_LSR | 1u << POLL_STAT)) && u->to_board_count > 0) {
        uint64_t next = u->to_board[u->to_board_head % u->to_board_capacity].end_ps;
        if (next < b->wake_ps)
            b->wake_ps = sim->key[board] = next;
    }
    if (u->imsc | u->mu_ier) { /* a receive interrupt may come sooner than anything else that it waits for */
        b->irq_ticks = 0;
        if (b->state == SIM_SLEEPING && u->to_board_count > 0) {
            uint64_t next = u->to_board[u->to_board_head % u->to_board_capacity].end_ps;
            if (next < b->wake_ps)
                b->wake_ps = sim->key[board] = next;
        }
    }
    return 0;
}

uint32_t sim_uart_tx_pending(sim_t *sim, uint32_t board)
{
    const uart_t *u = &sim->boards[board].uart;
    uint32_t count = 0;
    for (size_t i = u->to_board_count; i > 0; i--) {
        if (u->to_board[(u->to_board_head + i - 1) % u->to_board_capacity].end_ps <= sim->now_ps)
            break;
        count++;
    }
    return count;
}

void sim_uart_set_baud(sim_t *sim, uint32_t board, uint32_t baud)
{
    sim->boards[board].uart.host_baud = baud;
}

int sim_uart_noise(sim_t *sim, uint32_t board, uint32_t kind, double rate)
{
    if (board >= sim->board_count || kind >= SIM_NOISE_KINDS)
        return -1;
    sim->boards[board].uart.noise[kind] = rate;
    return 0;
}

void sim_uart_limit(sim_t *sim, uint32_t board, uint32_t baud) { sim->boards[board].uart.limit_baud = baud; }

/* The adapter is pulled out: bytes on the way to the board are lost, later ones in both directions too. */
void uart_hang_up(board_t *b)
{
    uart_advance(b, b->sim->now_ps);
    b->uart.to_board_count = 0;
    b->uart.hung_up = true;
}

int sim_uart_hung_up(sim_t *sim, uint32_t board) { return sim->boards[board].uart.hung_up; }

/* ---- board to host ------------------------------------------------------------------------------------ */

/* Bytes in the transmit FIFO: those that have not begun to leave. */
uint32_t uart_tx_level(const uart_t *u, uint64_t now_ps)
{
    uint32_t level = 0;
    while (level < u->tx_count && u->tx[(u->tx_head + u->tx_count - 1 - level) % TX_RING].start_ps > now_ps)
        level++;
    return level;
}

static void due_update(board_t *b)
{
    uart_t *u = &b->uart;
    uint64_t due = NEVER;
    if (u->tx_count > 0) {
        due = u->tx[u->tx_head].end_ps + ADAPTER_LATENCY_PS;
        if (u->tx_count >= ADAPTER_PACKET_BYTES) {
            uint64_t full = u->tx[(u->tx_head + ADAPTER_PACKET_BYTES - 1) % TX_RING].end_ps;
            due = full < due ? full : due;
        }
    }
    if (due != b->sim->due[b->index])
        sched_due(b, due);
}

void uart_transmit(board_t *b, uint8_t byte, uint32_t baud, uint32_t depth, bool routed, uint64_t now_ps)
{
    uart_t *u = &b->uart;
    if (baud == 0) {
        board_lint(b, SIM_LINT_UART_DIVISOR, 0, byte);
        return;
    }
    if (uart_tx_level(u, now_ps) >= depth || u->tx_count == TX_RING) {
        board_lint(b, SIM_LINT_UART_TX_FULL, 0, byte);
        return;
    }
    uint64_t start = u->tx_free_ps > now_ps ? u->tx_free_ps : now_ps;
    u->tx_free_ps = start + byte_ps(baud);
    u->tx[(u->tx_head + u->tx_count++) % TX_RING] = (tx_byte_t){byte, routed, baud, start, u->tx_free_ps};
    due_update(b);
}

static void host_append(uart_t *u, uint8_t byte)
{
    if (u->to_host_count == u->to_host_capacity) {
        size_t capacity = u->to_host_capacity ? u->to_host_capacity * 2 : 4096;
        uint8_t *grown = malloc(capacity);
        if (grown == NULL)
            return;
        for (size_t i = 0; i < u->to_host_count; i++)
            grown[i] = u->to_host[(u->to_host_head + i) % u->to_host_capacity];
        free(u->to_host);
        u->to_host = grown;
        u->to_host_head = 0;
        u->to_host_capacity = capacity;
    }
    u->to_host[(u->to_host_head + u->to_host_count++) % u->to_host_capacity] = byte;
}

void uart_deliver(board_t *b, uint64_t now_ps)
{
    uart_t *u = &b->uart;
    while (u->tx_count > 0 && u->tx[u->tx_head].end_ps <= now_ps) {
        tx_byte_t *t = &u->tx[u->tx_head];
        u->tx_head = (u->tx_head + 1) % TX_RING;
        u->tx_count--;
        if (!t->routed || u->hung_up || (u->noise[SIM_NOISE_DROP] > 0 && draw(u) < u->noise[SIM_NOISE_DROP]))
            continue;
        uint8_t byte = t->byte;
        if (!bauds_agree(t->baud, u->host_baud))
            byte = (uint8_t)garbled(byte, t->baud, u->host_baud, t->end_ps);
        else
            byte = damaged(u, byte, t->baud);
        host_append(u, byte);
        b->counters.uart_sent++;
        if (u->noise[SIM_NOISE_DUPLICATE] > 0 && draw(u) < u->noise[SIM_NOISE_DUPLICATE])
            host_append(u, byte);
    }
    due_update(b);
}

uint32_t sim_uart_read(sim_t *sim, uint32_t board, uint8_t *data, uint32_t limit)
{
    uart_t *u = &sim->boards[board].uart;
    uint32_t count = u->to_host_count < limit ? (uint32_t)u->to_host_count : limit;
    for (uint32_t i = 0; i < count; i++)
        data[i] = u->to_host[(u->to_host_head + i) % u->to_host_capacity];
    u->to_host_head = u->to_host_count == count ? 0 : (u->to_host_head + count) % u->to_host_capacity;
    u->to_host_count -= count;
    return count;
}

uint32_t sim_uart_pending(sim_t *sim, uint32_t board)
{
    return (uint32_t)sim->boards[board].uart.to_host_count;
}

uint64_t uart_next_ps(board_t *b, uint64_t now_ps)
{
    const uart_t *u = &b->uart;
    uint64_t next =
        u->to_board_count > 0 ? u->to_board[u->to_board_head % u->to_board_capacity].end_ps : NEVER;
    uint32_t level = uart_tx_level(u, now_ps);
    uint64_t transmit_ps = NEVER;
    if (level > 0)
        transmit_ps = u->tx[(u->tx_head + u->tx_count - level) % TX_RING].start_ps;
    else if (u->tx_free_ps > now_ps)
        transmit_ps = u->tx_free_ps;
    return transmit_ps < next ? transmit_ps : next;
}

uint64_t uart_irq_ps(board_t *b, uint64_t now_ps)
{
    const uart_t *u = &b->uart;
    if (!(u->imsc | u->mu_ier))
        return NEVER;
    uint64_t next = uart_next_ps(b, now_ps), idle = uart_idle_ps(b);
    return idle > now_ps && idle < next ? idle : next;
}

/* When what lies in the receive FIFO has waited for 32 bit times; NEVER: it is empty. */
uint64_t uart_idle_ps(const board_t *b)
{
    uint32_t baud = uart_pl011_baud(b);
    return b->uart.rx_count == 0 || baud == 0 ? NEVER : b->uart.rx_ps + 32ull * 1000000000000ull / baud;
}

uint16_t uart_take(uart_t *u)
{
    if (u->rx_count == 0)
        return 0;
    uint16_t character = u->rx[u->rx_head];
    u->rx_head = (u->rx_head + 1) % PL011_FIFO;
    u->rx_count--;
    return character;
}
