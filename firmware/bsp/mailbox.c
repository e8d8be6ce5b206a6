/* mailbox.c: the property channel. Contract: mailbox.h. Owns the mailbox.
 * The GPU reads and writes the buffer behind the ARM's data cache: clean before, invalidate after, and give
 * the buffer cache lines of its own. A reply counts only if it is for channel 8 and repeats our address. */
#include "mailbox.h"

#include "cache.h"
#include "mmio.h"
#include "timer.h"

struct mailbox_registers {
    uint32_t read, reserved0[5], status, reserved1, write, reserved2[5], write_status;
};
_Static_assert(offsetof(struct mailbox_registers, status) == 0x18, "MAIL0_STATUS");
_Static_assert(offsetof(struct mailbox_registers, write) == 0x20, "MAIL1_WRITE");
_Static_assert(offsetof(struct mailbox_registers, write_status) == 0x38, "MAIL1_STATUS");

#define MAILBOX ((volatile struct mailbox_registers *)(PERIPHERAL_BASE + 0xB880u))

#define STATUS_FULL     0x80000000u
#define STATUS_EMPTY    0x40000000u
#define REPLY_OK        0x80000000u
#define TAG_REPLY       0x80000000u
#define BUS_CACHED      0x40000000u /* SDRAM as the GPU sees it, through its L2 (the BCM2835's default) */
#define ANSWER_LIMIT_US 100000u

enum {
    CHANNEL_PROPERTY = 8,
    TAG_BOARD_REVISION = 0x00010002,
    TAG_BOARD_SERIAL = 0x00010004,
    TAG_ARM_MEMORY = 0x00010005,
    TAG_CLOCK_RATE = 0x00030002,
    TAG_CLOCK_MAXIMUM = 0x00030004,
    TAG_TEMPERATURE = 0x00030006,
    TAG_THROTTLED = 0x00030046,
    TAG_SET_CLOCK_RATE = 0x00038002,
    BUFFER_WORDS = 16, /* two cache lines */
    VALUES = 5,        /* first word of the tag's value buffer */
};

static _Alignas(64) volatile uint32_t buffer[BUFFER_WORDS];

static int wait_while(const volatile uint32_t *status, uint32_t flag)
{
    uint32_t start = timer_now_us();
    while (mmio_read32(status) & flag)
        if (timer_now_us() - start > ANSWER_LIMIT_US)
            return MAILBOX_ERROR_TIMEOUT;
    return MAILBOX_OK;
}

/* Asks one tag with three words of value; the answer is left in buffer[VALUES...]. */
static int ask(uint32_t tag, uint32_t word0, uint32_t word1)
{
    const uint32_t message[] = {9 * 4, 0, tag, 12, 0, word0, word1, 0, 0};
    for (uint32_t i = 0; i < sizeof message / sizeof message[0]; i++)
        buffer[i] = message[i];
    cache_clean_invalidate((uintptr_t)buffer, sizeof buffer);
    uint32_t request = ((uint32_t)(uintptr_t)buffer | BUS_CACHED) | CHANNEL_PROPERTY;
    mmio_barrier();
    if (wait_while(&MAILBOX->write_status, STATUS_FULL))
        return MAILBOX_ERROR_TIMEOUT;
    mmio_write32(&MAILBOX->write, request);
    uint32_t reply;
    do {
        if (wait_while(&MAILBOX->status, STATUS_EMPTY))
            return MAILBOX_ERROR_TIMEOUT;
        reply = mmio_read32(&MAILBOX->read);
    } while (reply != request);
    mmio_barrier();
    cache_clean_invalidate((uintptr_t)buffer, sizeof buffer);
    return buffer[1] == REPLY_OK && (buffer[4] & TAG_REPLY) ? MAILBOX_OK : MAILBOX_ERROR_REFUSED;
}

static int ask_word(uint32_t tag, uint32_t word0, uint32_t answer_index, uint32_t *value)
{
    int error = ask(tag, word0, 0);
    if (!error)
        *value = buffer[VALUES + answer_index];
    return error;
}

int mailbox_board_revision(uint32_t *value) { return ask_word(TAG_BOARD_REVISION, 0, 0, value); }

int mailbox_board_serial(uint64_t *value)
{
    int error = ask(TAG_BOARD_SERIAL, 0, 0);
    if (!error)
        *value = (uint64_t)buffer[VALUES + 1] << 32 | buffer[VALUES];
    return error;
}

int mailbox_arm_memory_bytes(uint32_t *value) { return ask_word(TAG_ARM_MEMORY, 0, 1, value); }

int mailbox_clock_hz(enum mailbox_clock clock, uint32_t *value)
{
    return ask_word(TAG_CLOCK_RATE, clock, 1, value);
}

int mailbox_temperature_mc(uint32_t *value) { return ask_word(TAG_TEMPERATURE, 0, 1, value); }

int mailbox_throttled(uint32_t *value) { return ask_word(TAG_THROTTLED, 0, 0, value); }

int mailbox_arm_clock_maximum(void)
{
    uint32_t maximum_hz = 0;
    int error = ask_word(TAG_CLOCK_MAXIMUM, MAILBOX_CLOCK_ARM, 1, &maximum_hz);
    return error ? error : ask(TAG_SET_CLOCK_RATE, MAILBOX_CLOCK_ARM, maximum_hz);
}
