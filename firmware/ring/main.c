/* main.c: ring.img, one image for all ranks: start-up, identity, the main loop.
 * Who a board is comes from the shard that the GPU's firmware put at SHARD_ADDRESS; without one it is nobody
 * (rank NO_RANK) and serves everything but the model. */
#include "board.h"
#include "commands.h"
#include "console.h"
#include "crash.h"
#include "crc32.h"
#include "exceptions.h"
#include "gpio.h"
#include "jobs.h"
#include "line.h"
#include "mailbox.h"
#include "mmu.h"
#include "power.h"
#include "runtime.h"
#include "text.h"
#include "timer.h"
#include "uart.h"

enum {
    UART_CLOCK_DEFAULT_HZ = 48000000,
    ARM_MEMORY_DEFAULT = 192 << 20, /* the smallest board, 256 MB, with the usual 64 MB for the GPU */
    MIB = 1 << 20,
};

/* D0..D7, CLK and ACK follow one another. */
#define BANK(first_pin)                                                                                      \
    {.data = 0xFFu << (first_pin),                                                                           \
     .clk = 1u << ((first_pin) + 8),                                                                         \
     .ack = 1u << ((first_pin) + 9),                                                                         \
     .shift = (first_pin)}

static const struct link_bank banks[BANK_COUNT] = {
    [BANK_DOWNSTREAM] = BANK(BANK_DOWNSTREAM_FIRST_PIN),
    [BANK_UPSTREAM] = BANK(BANK_UPSTREAM_FIRST_PIN),
};

static struct board board;

static void serve(struct board *self)
{
    struct console_command command;
    console_poll();
    if (self->line.busy)
        line_serve(self);
    /* Commands that come behind an abort wait until the job has ended, instead of being told BUSY. */
    while (!(self->job.result == JOB_RUNNING && (self->job.abort || self->job.pending)) &&
           console_take(&command))
        command_execute(self, &command);
}

/* In mid-computation, every few rows. */
static void serve_model(void *context)
{
    struct board *self = context;
    self->job.moves++;
    serve(self);
}

static void find_board(struct board *self)
{
    self->reset_status = power_reset_status();
    self->arm_memory_bytes = ARM_MEMORY_DEFAULT;
    mailbox_arm_memory_bytes(&self->arm_memory_bytes);
    mailbox_board_serial(&self->serial);
    mailbox_board_revision(&self->revision);
    mailbox_arm_clock_maximum();
}

static void find_uart(struct board *self)
{
    self->line.clock_hz = UART_CLOCK_DEFAULT_HZ;
    self->line.boot_baud = UART_BAUD;
    mailbox_clock_hz(MAILBOX_CLOCK_UART, &self->line.clock_hz);
    self->baud = uart_init(self->line.clock_hz, UART_BAUD);
}

/* Sets up a shard that lies at `shard` with an arena at *arena, and moves *arena behind what it takes. */
static int set_up_shard(struct board *self, struct model *model, uint32_t shard, uint32_t bytes,
                        uint32_t *arena)
{
    const struct shard_header *header = (const void *)(uintptr_t)shard;
    uint32_t seq_len = (uint32_t)header->seq_len;
    uint32_t layers = (uint32_t)(header->layer_end - header->layer_start);
    uint32_t arena_bytes = self->arm_memory_bytes > *arena ? self->arm_memory_bytes - *arena : 0;
    int error = model_init(model, header, bytes, (void *)(uintptr_t)*arena, arena_bytes,
                           forward_taps(seq_len, layers));
    if (error == MODEL_ERROR_ARENA_SMALL)
        text_print(self->model_text, sizeof self->model_text, "%s (needs %u bytes, has %u)",
                   model_error_text(error), model->arena_needed_bytes, model->arena_bytes);
    else if (error)
        text_print(self->model_text, sizeof self->model_text, "%s", model_error_text(error));
    *arena += (model->arena_needed_bytes + 7) & ~7u;
    model->service = serve_model;
    model->service_context = self;
    return error;
}

/* How many shards lie one behind the other: all ranks of a ring in order, or only the first counts.
 * Fills bytes[] with their sizes. */
static uint32_t count_shards(uint32_t limit, uint32_t bytes[MODEL_WORLD_MAX])
{
    uint32_t at = SHARD_ADDRESS, count = 0, world_size = 1;
    while (count < world_size && (bytes[count] = model_shard_bytes((const void *)(uintptr_t)at, limit)) > 0) {
        const struct shard_header *header = (const void *)(uintptr_t)at;
        if (count == 0)
            world_size = (uint32_t)header->world_size;
        if (header->world_size != (int32_t)world_size || header->rank != (int32_t)count)
            break;
        at += bytes[count];
        limit -= bytes[count++];
    }
    return count == world_size ? count : bytes[0] > 0;
}

/* Arenas: from the next MiB boundary behind the shards to the end of ARM memory. */
static void find_model(struct board *self)
{
    uint32_t limit = self->arm_memory_bytes > SHARD_ADDRESS ? self->arm_memory_bytes - SHARD_ADDRESS : 0;
    uint32_t bytes[MODEL_WORLD_MAX] = {0};
    uint32_t count = count_shards(limit, bytes);
    self->rank = NO_RANK;
    if (!count) {
        text_print(self->model_text, sizeof self->model_text,
                   "no shard at 0x%x; put one on the card with `initramfs FILE 0x%x`", SHARD_ADDRESS,
                   SHARD_ADDRESS);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        self->shard_bytes += bytes[i];
    uint32_t arena = (SHARD_ADDRESS + self->shard_bytes + MIB - 1) & ~(uint32_t)(MIB - 1);
    uint32_t shard = SHARD_ADDRESS;
    for (uint32_t i = 0; i < count; i++) {
        if (set_up_shard(self, &self->models[i], shard, bytes[i], &arena))
            return;
        shard += bytes[i];
    }
    self->shard_count = count;
    self->free_address = arena;
    self->spare_address = arena;
    self->rank = (uint8_t)self->models[0].rank;
    self->world_size = (uint8_t)self->models[0].world_size;
}

static void find_links(struct board *self)
{
    gpio_function(RING_PINS, GPIO_INPUT);
    gpio_pull(RING_PINS, GPIO_PULL_DOWN);
    for (uint32_t i = 0; i < BANK_COUNT; i++)
        link_init(&self->links[i], &banks[i], self->rank);
}

static void announce(const struct board *self)
{
    static const uint8_t build_id[16] = {BUILD_ID_BYTES};
    struct msg_ready ready = {
        .protocol = PROTOCOL_VERSION, .rank = self->rank, .world_size = self->world_size};
    memcpy(ready.build_id, build_id, sizeof build_id);
    console_event(EVENT_READY, &ready, sizeof ready);
    console_log(LEVEL_INFO, "ring.img %s, %u MB for the ARM, %u baud", GIT_REVISION,
                self->arm_memory_bytes / MIB, self->baud);
    for (uint32_t i = 0; i < self->shard_count; i++) {
        const struct model *model = &self->models[i];
        console_log(LEVEL_INFO, "rank %u of %u, layers %u to %u, shard of %u bytes, arena %u of %u bytes",
                    model->rank, model->world_size, model->layer_start, model->layer_end, model->shard_bytes,
                    model->arena_needed_bytes, model->arena_bytes);
    }
    if (!self->shard_count)
        console_log(LEVEL_WARNING, "no model: %s", self->model_text);
}

static _Noreturn void get_stuck(void)
{
    for (;;)
        __asm__ volatile("");
}

static void do_what_was_asked(struct board *self)
{
    static const enum exception_code kinds[] = {
        [CRASH_UNDEFINED] = EXCEPTION_UNDEFINED,
        [CRASH_DATA_ABORT] = EXCEPTION_DATA_ABORT,
        [CRASH_PREFETCH_ABORT] = EXCEPTION_PREFETCH_ABORT,
    };
    if (self->line.busy)
        line_change(self);
    if (self->job.pending)
        job_run(self);
    if (self->crash_asked) {
        self->crash_asked = 0;
        console_flush();
        if (self->crash_kind == CRASH_STUCK)
            get_stuck();
        exception_provoke(kinds[self->crash_kind]);
    }
    if (self->reboot_asked && timer_now_us() - self->reboot_from_us >= self->reboot_delay_us) {
        console_flush();
        power_reset();
    }
}

int main(void)
{
    crc32_init();
    board.serve = serve;
    find_board(&board);
    crash_init(board.arm_memory_bytes);
    mmu_init(board.arm_memory_bytes);
    find_uart(&board);
    find_model(&board);
    find_links(&board);
    announce(&board);
    for (;;) {
        serve(&board);
        do_what_was_asked(&board);
    }
}
