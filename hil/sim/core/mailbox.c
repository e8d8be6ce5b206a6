/* mailbox.c: the property channel between the ARM and the GPU's firmware.
 *
 * Source: the Raspberry Pi firmware's mailbox property interface. The reply takes a few microseconds, so a
 * program that does not check EMPTY reads nothing. The buffer is answered in place, at the reply's time. */
#include <string.h>

#include "internal.h"

enum {
    MAIL_READ = 0xB880,
    MAIL_STATUS0 = 0xB898,
    MAIL_CONFIG0 = 0xB89C,
    MAIL_WRITE = 0xB8A0,
    MAIL_STATUS1 = 0xB8B8
};
#define MAIL_FULL        0x80000000u
#define MAIL_EMPTY       0x40000000u
#define CHANNEL_PROPERTY 8u
#define REPLY_PS         (5ull * PS_PER_US)
#define REPLY_OK         0x80000000u
#define REPLY_ERROR      0x80000001u
#define TAG_REPLIED      0x80000000u
enum {
    CLOCK_UART = 2,
    CLOCK_ARM = 3,
    CLOCK_CORE = 4
};
enum {
    MAIL_SLOTS = 8
};

static uint32_t load(const board_t *b, uint32_t address)
{
    uint32_t word;
    memcpy(&word, b->ram + address, 4);
    return word;
}

static void store(board_t *b, uint32_t address, uint32_t word) { memcpy(b->ram + address, &word, 4); }

static uint32_t clock_get(const board_t *b, uint32_t id)
{
    switch (id) {
    case CLOCK_UART:
        return b->uart_hz;
    case CLOCK_ARM:
        return b->arm_hz;
    case CLOCK_CORE:
        return b->core_hz;
    default:
        return 250000000u;
    }
}

static uint32_t clock_limit(const board_t *b, uint32_t id)
{
    switch (id) {
    case CLOCK_ARM:
        return b->plan.arm_hz_max;
    case CLOCK_CORE:
        return b->plan.core_hz;
    default:
        return clock_get(b, id);
    }
}

static uint32_t clock_set(board_t *b, uint32_t id, uint32_t hz)
{
    if (id == CLOCK_ARM && hz != 0) {
        uint32_t lowest = 100000000u;
        hz = hz > b->plan.arm_hz_max ? b->plan.arm_hz_max : hz < lowest ? lowest : hz;
        board_set_clock(b, hz);
    } else if (id == CLOCK_UART && hz != 0) {
        b->uart_hz = hz;
    }
    return clock_get(b, id);
}

/* Fills values[] from the request in it; returns the bytes of the answer, or -1 for an unknown tag. */
static int property(board_t *b, uint32_t tag, uint32_t values[3])
{
    uint32_t gpu_bytes = b->plan.gpu_mem_bytes;
    uint32_t arm_bytes = (uint32_t)b->setup.ram_bytes - gpu_bytes;
    switch (tag) {
    case 0x00000001:
        values[0] = 0x6530B4A0u;
        return 4; /* a firmware of 2024 (seconds since 1970) */
    case 0x00010001:
        values[0] = 0;
        return 4;
    case 0x00010002:
        values[0] = b->setup.revision;
        return 4;
    case 0x00010004:
        values[0] = (uint32_t)b->setup.serial;
        values[1] = (uint32_t)(b->setup.serial >> 32);
        return 8;
    case 0x00010005:
        values[0] = 0;
        values[1] = arm_bytes;
        return 8;
    case 0x00010006:
        values[0] = arm_bytes;
        values[1] = gpu_bytes;
        return 8;
    case 0x00030002:
    case 0x00030047:
        values[1] = clock_get(b, values[0]);
        return 8;
    case 0x00030004:
        values[1] = clock_limit(b, values[0]);
        return 8;
    case 0x00038002:
        values[1] = clock_set(b, values[0], values[1]);
        return 8;
    case 0x00020001:
    case 0x00020002:
    case 0x00028001: /* power of a device: as asked, and there */
        values[1] = tag == 0x00020002 ? 0u : tag == 0x00020001 ? 1u : values[1] & 1u;
        return 8;
    case 0x00030006:
        values[1] = b->setup.temperature_mc;
        return 8;
    case 0x00030046:
        values[0] = 0;
        return 4;
    default:
        return gpu_property(b, tag, values);
    }
}

static bool buffer_fits(const board_t *b, uint32_t address, uint32_t bytes)
{
    return (uint64_t)address + bytes <= b->setup.ram_bytes;
}

static void answer(board_t *b, uint32_t buffer)
{
    uint32_t size = load(b, buffer);
    if (size < 12 || !buffer_fits(b, buffer, size) || load(b, buffer + 4) != 0) {
        board_lint(b, SIM_LINT_MAILBOX_BUFFER, buffer, size);
        store(b, buffer + 4, REPLY_ERROR);
        return;
    }
    uint32_t at = buffer + 8, end = buffer + size;
    while (at + 4 <= end && load(b, at) != 0) {
        uint32_t tag = load(b, at);
        uint32_t room = at + 12 <= end ? load(b, at + 4) : UINT32_MAX;
        if (room > end - at - 12) {
            board_lint(b, SIM_LINT_MAILBOX_BUFFER, at, tag);
            store(b, buffer + 4, REPLY_ERROR);
            return;
        }
        uint32_t values[3] = {0, 0, 0};
        memcpy(values, b->ram + at + 12, room < sizeof values ? room : sizeof values);
        int bytes = property(b, tag, values);
        if (bytes < 0) {
            board_lint(b, SIM_LINT_MAILBOX_TAG, at, tag);
        } else {
            memcpy(b->ram + at + 12, values, room < (uint32_t)bytes ? room : (uint32_t)bytes);
            store(b, at + 8, TAG_REPLIED | (uint32_t)bytes);
        }
        at += 12 + ((room + 3u) & ~3u);
    }
    store(b, buffer + 4, REPLY_OK);
}

static bool reply_ready(const board_t *b, uint64_t now_ps)
{
    return b->mail_count > 0 && b->mail[b->mail_head].due_ps <= now_ps;
}

bool mailbox_line(const board_t *b, uint64_t now_ps)
{
    return (b->mail_config & 1u) && reply_ready(b, now_ps);
}

uint64_t mailbox_next_ps(const board_t *b)
{
    return b->mail_count > 0 ? b->mail[b->mail_head].due_ps : NEVER;
}

uint32_t mailbox_read(board_t *b, uint32_t offset, uint64_t now_ps)
{
    bool ready = reply_ready(b, now_ps);
    if (offset == MAIL_STATUS0)
        return ready ? 0 : MAIL_EMPTY;
    if (offset == MAIL_STATUS1)
        return b->mail_count == MAIL_SLOTS ? MAIL_FULL : 0;
    if (offset == MAIL_READ) {
        if (!ready) {
            board_lint(b, SIM_LINT_MAILBOX_EMPTY_READ, 0x20000000u + offset, 0);
            return 0;
        }
        mail_t *m = &b->mail[b->mail_head];
        b->mail_head = (b->mail_head + 1) % MAIL_SLOTS;
        b->mail_count--;
        answer(b, m->buffer);
        return m->reply;
    }
    if (offset == MAIL_CONFIG0)
        return b->mail_config;
    board_lint(b, SIM_LINT_UNIMPLEMENTED_READ, 0x20000000u + offset, 0);
    return 0;
}

void mailbox_write(board_t *b, uint32_t offset, uint32_t value, uint64_t now_ps)
{
    if (offset == MAIL_CONFIG0) {
        b->mail_config = value & 1u; /* an interrupt for every reply */
        return;
    }
    if (offset != MAIL_WRITE) {
        board_lint(b, SIM_LINT_UNIMPLEMENTED_WRITE, 0x20000000u + offset, value);
        return;
    }
    uint32_t buffer = value & 0x3FFFFFF0u;    /* bus address: the top two bits choose a cache alias */
    if ((value & 0xFu) != CHANNEL_PROPERTY) { /* also what an address without 16-byte alignment turns into */
        board_lint(b, SIM_LINT_MAILBOX_ALIGNMENT, 0x20000000u + offset, value);
        return;
    }
    if (!buffer_fits(b, buffer, 12)) {
        board_lint(b, SIM_LINT_MAILBOX_BUFFER, buffer, value);
        return;
    }
    if (b->mail_count == MAIL_SLOTS) {
        board_lint(b, SIM_LINT_MAILBOX_OVERFLOW, 0x20000000u + offset, value);
        return;
    }
    b->mail[(b->mail_head + b->mail_count++) % MAIL_SLOTS] = (mail_t){value, buffer, now_ps + REPLY_PS};
}
