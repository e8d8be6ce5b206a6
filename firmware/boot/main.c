/* main.c: kernel.img, the UART bootloader on the SD card.
 * Protocol: docs/protocol.md, section 1. Its words, and its other side: hil/protocol/boot.py.
 * It runs at 0x200000 (start.S moves it there) with the data cache off, so what it writes is in memory, and
 * leaves UART0 set up for the image. Byte budget at 3 Mbaud: 3.3 us per byte, 53 us until the FIFO is full;
 * storing a byte and its CRC takes about 0.5 us, and the clock is read only when no byte is there. */
#include <stdint.h>

#include "boot_words.h"
#include "cache.h"
#include "crc32.h"
#include "exceptions.h"
#include "mailbox.h"
#include "power.h"
#include "runtime.h"
#include "timer.h"
#include "uart.h"

#ifndef UART_BAUD
#define UART_BAUD 115200u
#endif

#define ANNOUNCE_US        300000u
#define STALL_US           2000000u
#define UART_CLOCK_DEFAULT 48000000u

struct offer {
    uint32_t address, size_bytes, crc32;
};

static void send_word(uint32_t word)
{
    for (int i = 0; i < 4; i++)
        uart_write((uint8_t)(word >> (i * 8)));
}

static void print(const char *text)
{
    uint32_t size = (uint32_t)strlen(text);
    send_word(PRINT_STRING);
    send_word(size);
    while (size--)
        uart_write((uint8_t)*text++);
}

static char *put_hex(char *at, uint32_t value)
{
    for (int shift = 28; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[value >> shift & 15];
    return at;
}

/* Text such as "name 0x12345678\n", in a buffer that the next call uses again. */
static const char *sentence(const char *name, uint32_t value)
{
    static char text[96];
    uint32_t length = (uint32_t)strlen(name);
    if (length > sizeof text - 12)
        length = sizeof text - 12;
    memcpy(text, name, length);
    memcpy(text + length, " 0x", 3);
    char *end = put_hex(text + length + 3, value);
    end[0] = '\n';
    end[1] = 0;
    return text;
}

/* "board serial 00000000b0a2d000, reset status 0x00001000": said before every GET_PROG_INFO, so that the host knows
 * who is there before it gives anything. Empty where the GPU does not tell. */
static char greeting[64];

static char *put_text(char *at, const char *text)
{
    uint32_t length = (uint32_t)strlen(text);
    memcpy(at, text, length);
    return at + length;
}

static void compose_greeting(void)
{
    uint64_t serial;
    if (mailbox_board_serial(&serial))
        return;
    char *at = put_text(greeting, "board serial ");
    at = put_hex(at, (uint32_t)(serial >> 32));
    at = put_hex(at, (uint32_t)serial);
    at = put_text(at, ", reset status 0x");
    at = put_hex(at, power_reset_status());
    put_text(at, "\n");
}

/* The next byte, or -1 when none came for limit_us. */
static int read_byte(uint32_t limit_us)
{
    int byte = uart_read();
    if (byte >= 0)
        return byte;
    timer_deadline_set(limit_us);
    do {
        byte = uart_read();
    } while (byte < 0 && !timer_deadline_passed());
    return byte;
}

/* Reads a little-endian word; 0 when the bytes stop. */
static int read_word(uint32_t *word)
{
    *word = 0;
    for (int i = 0; i < 4; i++) {
        int byte = read_byte(STALL_US);
        if (byte < 0)
            return 0;
        *word |= (uint32_t)byte << (i * 8);
    }
    return 1;
}

/* Waits until `word` has come, whatever comes before it; 0 when nothing comes for limit_us. */
static int await_word(uint32_t word, uint32_t limit_us)
{
    uint32_t window = 0;
    while (window != word) {
        int byte = read_byte(limit_us);
        if (byte < 0)
            return 0;
        window = window >> 8 | (uint32_t)byte << 24;
    }
    return 1;
}

/* Announces itself until an offer has come whole. */
static void await_offer(struct offer *offer)
{
    uint32_t window = 0;
    for (;;) {
        if (greeting[0])
            print(greeting);
        send_word(GET_PROG_INFO);
        timer_deadline_set(ANNOUNCE_US);
        while (!timer_deadline_passed()) {
            int byte = uart_read();
            if (byte < 0)
                continue;
            window = window >> 8 | (uint32_t)byte << 24;
            if (window == PUT_PROG_INFO && read_word(&offer->address) && read_word(&offer->size_bytes) &&
                read_word(&offer->crc32))
                return;
        }
    }
}

static int offer_fits(const struct offer *offer)
{
    return offer->address == LOAD_ADDRESS && offer->size_bytes > 0 &&
           offer->size_bytes <= BOOTLOADER_ADDRESS - LOAD_ADDRESS;
}

/* Takes the bytes of the image; returns how many came, and their CRC. */
static uint32_t receive_image(const struct offer *offer, uint32_t *crc)
{
    uint8_t *to = (uint8_t *)(uintptr_t)offer->address;
    uint32_t received = 0;
    *crc = CRC32_START;
    for (; received < offer->size_bytes; received++) {
        int byte = read_byte(STALL_US);
        if (byte < 0)
            break;
        to[received] = (uint8_t)byte;
        *crc = crc32_update(*crc, to + received, 1);
    }
    return received;
}

/* One upload; 1 when the image is in memory and its CRC is right. */
static int load(struct offer *offer)
{
    await_offer(offer);
    if (!offer_fits(offer)) {
        print(sentence("boot: only images at 0x8000 that end below 0x200000 fit; refused size",
                       offer->size_bytes));
        send_word(BOOT_ERROR);
        return 0;
    }
    send_word(GET_CODE);
    send_word(offer->crc32);
    if (!await_word(PUT_CODE, STALL_US)) {
        print("boot: no PUT_CODE within 2 s\n");
        send_word(BOOT_ERROR);
        return 0;
    }
    uint32_t crc;
    uint32_t received = receive_image(offer, &crc);
    if (received < offer->size_bytes) {
        print(sentence("boot: bytes stopped for 2 s after", received));
        send_word(BOOT_ERROR);
        return 0;
    }
    if (crc != offer->crc32) {
        print(sentence(uart_overruns() ? "boot: UART overrun, CRC is" : "boot: CRC is", crc));
        send_word(BOOT_ERROR);
        return 0;
    }
    send_word(BOOT_SUCCESS);
    uart_flush();
    return 1;
}

void exception_report(const struct exception_frame *frame, uint32_t fault_status, uint32_t fault_address)
{
    print(sentence("boot: exception of kind", frame->kind));
    print(sentence("  pc", frame->pc));
    print(sentence("  lr", frame->lr));
    print(sentence("  fault status", fault_status));
    print(sentence("  fault address", fault_address));
}

int main(void)
{
    uint32_t clock_hz = UART_CLOCK_DEFAULT;
    struct offer offer;
    crc32_init();
    mailbox_clock_hz(MAILBOX_CLOCK_UART, &clock_hz);
    uart_init(clock_hz, UART_BAUD);
    compose_greeting();
    while (!load(&offer)) {
    }
    cache_publish_code();
    ((void (*)(void))(uintptr_t)offer.address)();
    return 0;
}
