/* board_commands.c: commands about the board itself: who it is, its health, its memory, its speed,
 * its job. Contract: handlers.h. */
#include "console.h"
#include "gpio.h"
#include "handlers.h"
#include "job.h"
#include "mailbox.h"
#include "ops.h"
#include "runtime.h"
#include "timer.h"
#include "uart.h"

enum {
    BENCH_LENGTH_MAX = 4096,
    BENCH_MULTIPLY_ADDS_MAX = 1 << 28, /* about three seconds on a Zero */
};

void handle_identify(struct board *board, const struct request *request, struct reply *reply)
{
    static const uint8_t build_id[16] = {BUILD_ID_BYTES};
    static const char revision[] = GIT_REVISION;
    memcpy(&board->session, request->payload, sizeof board->session);
    struct msg_identity identity = {
        .session = board->session,
        .protocol = PROTOCOL_VERSION,
        .rank = board->rank,
        .world_size = board->world_size,
        .board_serial = board->serial,
        .board_revision = board->revision,
        .arm_memory_bytes = board->arm_memory_bytes,
        .shard_bytes = board->shard_bytes,
        .baud = board->baud,
        .shards = (uint8_t)board->shard_count,
    };
    for (uint32_t i = 0; i < board->shard_count; i++) { /* in order of ranks, so of layers */
        const struct model *model = &board->models[i];
        if (i == 0)
            identity.layer_start = (uint16_t)model->layer_start;
        identity.layer_end = (uint16_t)model->layer_end;
        identity.has_embed |= model->has_embed != 0;
        identity.has_head |= model->has_head != 0;
    }
    memcpy(identity.build_id, build_id, sizeof build_id);
    memcpy(identity.git_revision, revision, sizeof revision - 1 > 16 ? 16 : sizeof revision - 1);
    give(reply, &identity, sizeof identity);
}

void handle_ping(struct board *board, const struct request *request, struct reply *reply)
{
    (void)board;
    if (request->size > REPLY_BYTES_MAX)
        refuse(reply, STATUS_BAD_LENGTH, "%u bytes do not fit a response; at most %u", request->size,
               (uint32_t)REPLY_BYTES_MAX);
    else
        give(reply, request->payload, request->size);
}

void handle_health(struct board *board, const struct request *request, struct reply *reply)
{
    (void)request;
    uint32_t arm_hz = 0, core_hz = 0, uart_hz = 0, temperature_mc = 0, throttled = 0;
    mailbox_clock_hz(MAILBOX_CLOCK_ARM, &arm_hz);
    mailbox_clock_hz(MAILBOX_CLOCK_CORE, &core_hz);
    mailbox_clock_hz(MAILBOX_CLOCK_UART, &uart_hz);
    mailbox_temperature_mc(&temperature_mc);
    mailbox_throttled(&throttled);
    struct msg_health health = {
        .uptime_us = timer_now64_us(),
        .arm_clock_hz = arm_hz,
        .core_clock_hz = core_hz,
        .uart_clock_hz = uart_hz,
        .temperature_mc = temperature_mc,
        .throttled = throttled,
        .reset_status = board->reset_status,
        .uart_overruns = uart_overruns(),
        .uart_bad_frames = console_bad_frames(),
    };
    give(reply, &health, sizeof health);
}

void handle_reboot(struct board *board, const struct request *request, struct reply *reply)
{
    (void)reply;
    struct msg_reboot asked;
    memcpy(&asked, request->payload, sizeof asked);
    board->reboot_asked = 1;
    board->reboot_from_us = timer_now_us();
    board->reboot_delay_us = asked.delay_ms * 1000u;
}

void handle_memory_read(struct board *board, const struct request *request, struct reply *reply)
{
    struct msg_memory_read asked;
    memcpy(&asked, request->payload, sizeof asked);
    if (asked.size_bytes > REPLY_BYTES_MAX)
        refuse(reply, STATUS_BAD_ARGUMENT, "%u bytes do not fit a response; read at most %u at a time",
               (uint32_t)asked.size_bytes, (uint32_t)REPLY_BYTES_MAX);
    else if (check_ram(board, asked.address, asked.size_bytes, reply))
        give(reply, (const void *)(uintptr_t)asked.address, asked.size_bytes);
}

void handle_crash(struct board *board, const struct request *request, struct reply *reply)
{
    uint8_t kind = request->payload[0];
    if (kind > CRASH_STUCK) {
        refuse(reply, STATUS_BAD_ARGUMENT, "crash kind %u does not exist; 0 to %u", (uint32_t)kind,
               (uint32_t)CRASH_STUCK);
        return;
    }
    board->crash_asked = 1;
    board->crash_kind = kind;
}

void handle_bench(struct board *board, const struct request *request, struct reply *reply)
{
    struct msg_bench asked;
    memcpy(&asked, request->payload, sizeof asked);
    uint64_t multiply_adds = (uint64_t)asked.rounds * asked.length;
    if (asked.length == 0 || asked.length > BENCH_LENGTH_MAX || multiply_adds > BENCH_MULTIPLY_ADDS_MAX) {
        refuse(reply, STATUS_BAD_ARGUMENT, "%u rounds of %u elements: 1 to %u elements, at most %u in all",
               asked.rounds, asked.length, (uint32_t)BENCH_LENGTH_MAX, (uint32_t)BENCH_MULTIPLY_ADDS_MAX);
        return;
    }
    float *a = (float *)(void *)board->work[0]; /* no job runs, so nobody uses the work buffer */
    float *b = a + BENCH_LENGTH_MAX;
    for (uint32_t i = 0; i < asked.length; i++) {
        a[i] = 1.0f + (float)(i & 7u) * 0.125f;
        b[i] = 0.5f - (float)(i & 3u) * 0.25f;
    }
    float sum = 0.0f;
    uint64_t start_us = timer_now64_us();
    for (uint32_t round = 0; round < asked.rounds; round++)
        sum += dot8(a, b, asked.length);
    struct msg_bench_result result = {
        .multiply_adds = multiply_adds, .time_us = timer_now64_us() - start_us, .checksum = sum};
    give(reply, &result, sizeof result);
}

void handle_job_status(struct board *board, const struct request *request, struct reply *reply)
{
    (void)request;
    struct msg_job_state state = job_state(board);
    give(reply, &state, sizeof state);
}

void handle_job_abort(struct board *board, const struct request *request, struct reply *reply)
{
    if (board->job.result == JOB_RUNNING)
        board->job.abort = 1;
    handle_job_status(board, request, reply);
}
