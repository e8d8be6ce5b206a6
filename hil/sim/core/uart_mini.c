/* uart_mini.c: registers of the mini-UART, UART1. Sources: BCM2835 ARM Peripherals ch. 2; elinux errata. */
#include "uart.h"

enum {
    AUX_IRQ = 0x00,
    AUX_ENABLES = 0x04,
    MU_IO = 0x40,
    MU_IER = 0x44,
    MU_IIR = 0x48,
    MU_LCR = 0x4C,
    MU_MCR = 0x50,
    MU_LSR = 0x54,
    MU_MSR = 0x58,
    MU_SCRATCH = 0x5C,
    MU_CNTL = 0x60,
    MU_STAT = 0x64,
    MU_BAUD = 0x68
};

/* IIR bits 2:1: what asks for attention (0: nothing). Errata: IER bit 0 is for received bytes, bit 1 for sent ones. */
static uint32_t attention(const board_t *b, uint64_t now_ps)
{
    const uart_t *u = &b->uart;
    if ((u->mu_ier & 1u) && u->rx_count > 0)
        return 2u;
    return (u->mu_ier & 2u) && uart_tx_level(u, now_ps) == 0 ? 1u : 0u;
}

bool uart_mini_line(board_t *b, uint64_t now_ps)
{
    if (!(b->uart.aux_enables & 1u) || b->uart.mu_ier == 0)
        return false;
    uart_advance(b, now_ps);
    return attention(b, now_ps) != 0;
}

uint32_t uart_aux_read(board_t *b, uint32_t offset, uint64_t now_ps)
{
    uart_t *u = &b->uart;
    if (offset == AUX_ENABLES)
        return u->aux_enables;
    if (offset != AUX_IRQ && !(u->aux_enables & 1u))
        return 0;
    uart_advance(b, now_ps);
    uint32_t level = uart_tx_level(u, now_ps);
    bool idle = u->tx_free_ps <= now_ps;
    switch (offset) {
    case AUX_IRQ:
        return uart_mini_line(b, now_ps);
    case MU_IO:
        return uart_take(u) & 0xFFu;
    case MU_IER:
        return u->mu_ier;
    case MU_IIR:
        return 0xC0u | attention(b, now_ps) << 1 | (attention(b, now_ps) == 0);
    case MU_LCR:
        return u->mu_lcr;
    case MU_MCR:
        return u->mu_mcr;
    case MU_LSR: {
        uint32_t overrun = u->mu_overrun;
        u->mu_overrun = 0;
        return (u->rx_count > 0 ? 1u : 0u) | overrun << 1 | (level < MINI_FIFO ? 1u << 5 : 0u) |
               (idle ? 1u << 6 : 0u);
    }
    case MU_MSR:
        return 0x10u;
    case MU_SCRATCH:
        return u->mu_scratch;
    case MU_CNTL:
        return u->mu_cntl;
    case MU_STAT:
        return (u->rx_count > 0 ? 1u : 0u) | (level < MINI_FIFO ? 2u : 0u) | (idle ? 1u << 3 : 0u) |
               u->mu_overrun << 4 | (level >= MINI_FIFO ? 1u << 5 : 0u) | (level == 0 ? 1u << 8 : 0u) |
               (level == 0 && idle ? 1u << 9 : 0u) | u->rx_count << 16 | level << 24;
    case MU_BAUD:
        return u->mu_baud;
    default:
        board_lint(b, SIM_LINT_UNIMPLEMENTED_READ, 0x20215000u + offset, 0);
        return 0;
    }
}

void uart_aux_write(board_t *b, uint32_t offset, uint32_t value, uint64_t now_ps)
{
    uart_t *u = &b->uart;
    uart_advance(b, now_ps);
    if (offset == AUX_ENABLES) {
        u->aux_enables = value & 7u;
        return;
    }
    if (!(u->aux_enables & 1u)) {
        board_lint(b, SIM_LINT_UART_TX_DISABLED, 0x20215000u + offset, value);
        return;
    }
    switch (offset) {
    case MU_IO:
        if (u->mu_cntl & 2u) {
            uart_transmit(b, (uint8_t)value, uart_mini_baud(b), MINI_FIFO,
                          uart_route(b, PIN_TX) == ROUTE_MINI, now_ps);
        } else {
            board_lint(b, SIM_LINT_UART_TX_DISABLED, 0x20215040u, value);
        }
        break;
    case MU_IER:
        u->mu_ier = value & 0xFu;
        break;
    case MU_IIR:
        if (value & 2u)
            u->rx_count = 0;
        break;
    case MU_LCR:
        u->mu_lcr = value & 0xC3u;
        break;
    case MU_MCR:
        u->mu_mcr = value & 2u;
        break;
    case MU_SCRATCH:
        u->mu_scratch = value & 0xFFu;
        break;
    case MU_CNTL:
        u->mu_cntl = value & 0xFFu;
        break;
    case MU_BAUD:
        u->mu_baud = value & 0xFFFFu;
        break;
    default:
        board_lint(b, SIM_LINT_UNIMPLEMENTED_WRITE, 0x20215000u + offset, value);
        break;
    }
}
