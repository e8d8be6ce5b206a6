/* uart_pl011.c: registers of the PL011, UART0. Sources: BCM2835 ARM Peripherals ch. 13; ARM DDI 0183. */
#include "uart.h"

enum {
    DR = 0x00,
    RSRECR = 0x04,
    FR = 0x18,
    IBRD = 0x24,
    FBRD = 0x28,
    LCRH = 0x2C,
    CR = 0x30,
    IFLS = 0x34,
    IMSC = 0x38,
    RIS = 0x3C,
    MIS = 0x40,
    ICR = 0x44
};

static uint32_t pl011_depth(const uart_t *u) { return u->lcrh & LCRH_FEN ? PL011_FIFO : 1u; }

/* Where the FIFOs' interrupts come, by IFLS: an eighth, quarter, half, three quarters, seven eighths. */
static uint32_t threshold(const uart_t *u, uint32_t code)
{
    static const uint8_t levels[8] = {2, 4, 8, 12, 14, 14, 14, 14};
    return u->lcrh & LCRH_FEN ? levels[code & 7u] : 1u;
}

static uint32_t transmit_threshold(const uart_t *u)
{
    return u->lcrh & LCRH_FEN ? threshold(u, u->ifls) : 0u;
}

/* RIS. The transmit interrupt is an edge: the level passes its threshold on the way down. */
static uint32_t interrupts(const board_t *b, uint64_t now_ps)
{
    const uart_t *u = &b->uart;
    bool low = u->tx_armed && uart_tx_level(u, now_ps) <= transmit_threshold(u);
    return u->ris_sticky | (u->rx_count >= threshold(u, u->ifls >> 3) ? RIS_RX : 0u) |
           (uart_idle_ps(b) <= now_ps ? RIS_RT : 0u) | (low ? RIS_TX : 0u);
}

bool uart_pl011_line(board_t *b, uint64_t now_ps)
{
    if (b->uart.imsc == 0)
        return false;
    uart_advance(b, now_ps);
    return (interrupts(b, now_ps) & b->uart.imsc) != 0;
}

uint32_t uart_pl011_read(board_t *b, uint32_t offset, uint64_t now_ps)
{
    uart_t *u = &b->uart;
    uart_advance(b, now_ps);
    uint32_t level = uart_tx_level(u, now_ps);
    switch (offset) {
    case DR: {
        uint16_t character = uart_take(u);
        u->rsr = (u->rsr & RSR_OE) | (character & DR_FE ? RSR_FE : 0u);
        return character;
    }
    case RSRECR:
        return u->rsr;
    case FR:
        return (u->tx_free_ps > now_ps ? 1u << 3 : 0u) | (u->rx_count == 0 ? 1u << 4 : 0u) |
               (level >= pl011_depth(u) ? 1u << 5 : 0u) | (u->rx_count >= pl011_depth(u) ? 1u << 6 : 0u) |
               (level == 0 ? 1u << 7 : 0u);
    case IBRD:
        return u->ibrd;
    case FBRD:
        return u->fbrd;
    case LCRH:
        return u->lcrh;
    case CR:
        return u->cr;
    case IFLS:
        return u->ifls;
    case IMSC:
        return u->imsc;
    case RIS:
    case MIS:
        return interrupts(b, now_ps) & (offset == RIS ? UINT32_MAX : u->imsc);
    case ICR:
        return 0;
    case 0xFE0:
        return 0x11;
    case 0xFE4:
        return 0x10;
    case 0xFE8:
        return 0x34;
    case 0xFEC:
        return 0x00;
    default:
        board_lint(b, SIM_LINT_UNIMPLEMENTED_READ, 0x20201000u + offset, 0);
        return 0;
    }
}

void uart_pl011_write(board_t *b, uint32_t offset, uint32_t value, uint64_t now_ps)
{
    uart_t *u = &b->uart;
    uart_advance(b, now_ps);
    switch (offset) {
    case DR:
        if ((u->cr & (CR_EN | CR_TXE)) != (CR_EN | CR_TXE)) {
            board_lint(b, SIM_LINT_UART_TX_DISABLED, 0x20201000u, value);
        } else {
            uart_transmit(b, (uint8_t)value, uart_pl011_baud(b), pl011_depth(u),
                          uart_route(b, PIN_TX) == ROUTE_PL011, now_ps);
            u->tx_armed = u->tx_armed || uart_tx_level(u, now_ps) > transmit_threshold(u);
        }
        break;
    case RSRECR:
        u->rsr = 0;
        break;
    case IBRD:
        u->ibrd = value & 0xFFFFu;
        break;
    case FBRD:
        u->fbrd = value & 0x3Fu;
        break;
    case LCRH:
        u->lcrh = value & 0xFFu;
        u->divisor64 = u->ibrd * 64u + u->fbrd; /* only this write takes the divisor over */
        if (!(value & LCRH_FEN) && u->rx_count > 1)
            u->rx_count = 0;
        break;
    case CR:
        u->cr = value & 0xFF87u;
        break;
    case IFLS:
        u->ifls = value & 0x3Fu;
        break;
    case IMSC:
        u->imsc = value & 0x7FFu;
        break;
    case ICR:
        u->ris_sticky &= ~value;
        if ((value & RIS_TX) && uart_tx_level(u, now_ps) <= transmit_threshold(u))
            u->tx_armed = false;
        break;
    case 0x48:
        break; /* DMACR: no DMA here */
    default:
        board_lint(b, SIM_LINT_UNIMPLEMENTED_WRITE, 0x20201000u + offset, value);
        break;
    }
}
