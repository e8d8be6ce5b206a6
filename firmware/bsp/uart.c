/* uart.c: PL011 UART0, polled, 8N1. Contract: uart.h.
 * Source: BCM2835 ARM Peripherals ch. 13; ARM DDI 0183. Owns UART0 and GPIO 14/15.
 * Divisor in 64ths: clock * 4 / baud, rounded. 48 MHz / 115200 -> 1667 = 26 + 3/64: 115177 baud, -0.02 %. */
#include "uart.h"

#include "gpio.h"
#include "mmio.h"
#include "timer.h"

struct uart_registers {
    uint32_t dr, rsrecr, reserved0[4];
    uint32_t fr, reserved1, ilpr, ibrd, fbrd, lcrh, cr, ifls, imsc, ris, mis, icr;
};
_Static_assert(offsetof(struct uart_registers, fr) == 0x18, "FR");
_Static_assert(offsetof(struct uart_registers, ibrd) == 0x24, "IBRD");
_Static_assert(offsetof(struct uart_registers, lcrh) == 0x2C, "LCRH");
_Static_assert(offsetof(struct uart_registers, cr) == 0x30, "CR");
_Static_assert(offsetof(struct uart_registers, icr) == 0x44, "ICR");

#define UART ((volatile struct uart_registers *)(PERIPHERAL_BASE + 0x201000u))

enum {
    FR_BUSY = 1 << 3,
    FR_RXFE = 1 << 4,
    FR_TXFF = 1 << 5,
    DR_FRAMING = 1 << 8,
    DR_OVERRUN = 1 << 11,
    LCRH_8N1_FIFO = 3 << 5 | 1 << 4,
    CR_ENABLE_TX_RX = 1 << 0 | 1 << 8 | 1 << 9,
    ICR_ALL = 0x7FF,
    UART_PINS = 1 << 14 | 1 << 15,
    RX_PIN = 1 << 15,
    FLUSH_LIMIT_US = 20000, /* 17 bytes at 9600 baud */
};

#define BLUETOOTH_PINS (3ull << 32)

static uint32_t overruns, framing_errors;

static uint32_t divisor_64ths(uint32_t clock_hz, uint32_t baud)
{
    uint32_t divisor = (clock_hz * 4u + baud / 2) / baud;
    if (clock_hz > 0xFFFFFFFFu / 4u - baud)
        divisor =
            (clock_hz / baud) * 4u; /* a clock of 1 GHz, seen with 2018 firmware: coarse but no overflow */
    return divisor < 64 ? 64 : divisor;
}

/* Disabled, with the new divisor latched. */
static void configure(uint32_t divisor)
{
    uart_flush();
    mmio_write32(&UART->cr, 0);
    mmio_write32(&UART->icr, ICR_ALL);
    mmio_write32(&UART->imsc, 0);
    mmio_write32(&UART->ibrd, divisor >> 6);
    mmio_write32(&UART->fbrd, divisor & 63);
    mmio_write32(&UART->lcrh, LCRH_8N1_FIFO); /* this write latches both divisors */
    mmio_barrier();
}

uint32_t uart_real_baud(uint32_t clock_hz, uint32_t baud)
{
    uint32_t divisor = divisor_64ths(clock_hz, baud);
    return clock_hz / divisor * 4u + clock_hz % divisor * 4u / divisor;
}

uint32_t uart_init(uint32_t clock_hz, uint32_t baud)
{
    configure(divisor_64ths(clock_hz, baud));
    gpio_function(BLUETOOTH_PINS, GPIO_INPUT); /* a Zero W's firmware routes UART0 to its Bluetooth chip */
    gpio_function(UART_PINS, GPIO_ALT0);
    gpio_pull(RX_PIN, GPIO_PULL_UP); /* an unplugged adapter reads as an idle line */
    mmio_write32(&UART->cr, CR_ENABLE_TX_RX);
    mmio_barrier();
    return uart_real_baud(clock_hz, baud);
}

uint32_t uart_set_baud(uint32_t clock_hz, uint32_t baud)
{
    configure(divisor_64ths(clock_hz, baud));
    mmio_write32(&UART->cr, CR_ENABLE_TX_RX);
    mmio_barrier();
    return uart_real_baud(clock_hz, baud);
}

int uart_read(void)
{
    int byte = UART_RX_EMPTY;
    mmio_barrier();
    if (!(mmio_read32(&UART->fr) & FR_RXFE)) {
        uint32_t word = mmio_read32(&UART->dr);
        overruns += (word & DR_OVERRUN) != 0;
        framing_errors += (word & DR_FRAMING) != 0;
        byte = (int)(word & 0xFF);
    }
    mmio_barrier();
    return byte;
}

int uart_try_write(uint8_t byte)
{
    mmio_barrier();
    int room = !(mmio_read32(&UART->fr) & FR_TXFF);
    if (room)
        mmio_write32(&UART->dr, byte);
    mmio_barrier();
    return room;
}

void uart_write(uint8_t byte)
{
    uint32_t start = timer_now_us();
    while (!uart_try_write(byte))
        if (timer_now_us() - start > FLUSH_LIMIT_US)
            return; /* a disabled or dead UART must not hang the board */
}

void uart_flush(void)
{
    uint32_t start = timer_now_us();
    while (mmio_read32(&UART->fr) & FR_BUSY)
        if (timer_now_us() - start > FLUSH_LIMIT_US)
            break;
    mmio_barrier();
}

uint32_t uart_overruns(void) { return overruns; }

uint32_t uart_framing_errors(void) { return framing_errors; }
