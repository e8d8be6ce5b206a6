/* commands.c: from a command's code to its handler. Contract: commands.h. Messages: hil/protocol/messages.py.
 * A handler looks at a request whose size is right already, and either fills the reply or refuses with a
 * sentence that says what is wrong with which value. */
#include "commands.h"

#include "crc32.h"
#include "gpio.h"
#include "handlers.h"
#include "jobs.h"
#include "link_jobs.h"
#include "mailbox.h"
#include "runtime.h"
#include "text.h"
#include "timer.h"
#include "train_jobs.h"
#include "uart.h"

enum {
    SENTENCE_BYTES = 240,
    BENCH_LENGTH_MAX = 4096,
    BENCH_MULTIPLY_ADDS_MAX = 1 << 28, /* about three seconds on a Zero */
    DRIVE_MA_MIN = 2,
    DRIVE_MA_MAX = 16,
};

struct command_row {
    uint8_t code;
    uint8_t with_job;  /* served while a job runs */
    uint8_t with_tail; /* size_bytes is the least, not the exact size */
    uint16_t size_bytes;
    handler *run;
};

void refuse(struct reply *reply, enum status_code status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    reply->status = status;
    reply->size = text_print_list((char *)reply->payload, SENTENCE_BYTES, format, arguments);
    va_end(arguments);
}

void give(struct reply *reply, const void *message, uint32_t size)
{
    memcpy(reply->payload + reply->size, message, size);
    reply->size += size;
}

/* --- the board --- */

static void handle_identify(struct board *board, const struct request *request, struct reply *reply)
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

static void handle_ping(struct board *board, const struct request *request, struct reply *reply)
{
    (void)board;
    if (request->size > REPLY_BYTES_MAX)
        refuse(reply, STATUS_BAD_LENGTH, "%u bytes do not fit a response; at most %u", request->size,
               (uint32_t)REPLY_BYTES_MAX);
    else
        give(reply, request->payload, request->size);
}

static void handle_health(struct board *board, const struct request *request, struct reply *reply)
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

static void handle_reboot(struct board *board, const struct request *request, struct reply *reply)
{
    (void)reply;
    struct msg_reboot asked;
    memcpy(&asked, request->payload, sizeof asked);
    board->reboot_asked = 1;
    board->reboot_from_us = timer_now_us();
    board->reboot_delay_us = asked.delay_ms * 1000u;
}

static void handle_memory_read(struct board *board, const struct request *request, struct reply *reply)
{
    struct msg_memory_read asked;
    memcpy(&asked, request->payload, sizeof asked);
    if (asked.size_bytes > REPLY_BYTES_MAX)
        refuse(reply, STATUS_BAD_ARGUMENT, "%u bytes do not fit a response; read at most %u at a time",
               (uint32_t)asked.size_bytes, (uint32_t)REPLY_BYTES_MAX);
    else if (asked.address >= board->arm_memory_bytes ||
             board->arm_memory_bytes - asked.address < asked.size_bytes)
        refuse(reply, STATUS_BAD_ARGUMENT, "0x%x + %u bytes is not in RAM, which ends at 0x%x", asked.address,
               (uint32_t)asked.size_bytes, board->arm_memory_bytes);
    else
        give(reply, (const void *)(uintptr_t)asked.address, asked.size_bytes);
}

static void handle_crash(struct board *board, const struct request *request, struct reply *reply)
{
    uint8_t kind = request->payload[0];
    if (kind > 2) {
        refuse(reply, STATUS_BAD_ARGUMENT, "crash kind %u does not exist; 0 to 2", (uint32_t)kind);
        return;
    }
    board->crash_asked = 1;
    board->crash_kind = kind;
}

/* --- jobs --- */

static void handle_job_status(struct board *board, const struct request *request, struct reply *reply)
{
    (void)request;
    struct msg_job_state state = job_state(board);
    give(reply, &state, sizeof state);
}

static void handle_job_abort(struct board *board, const struct request *request, struct reply *reply)
{
    if (board->job.result == JOB_RUNNING)
        board->job.abort = 1;
    handle_job_status(board, request, reply);
}

void accept_job(struct board *board, enum command_code command, struct reply *reply)
{
    struct job *job = &board->job;
    job->number++;
    job->command = (uint8_t)command;
    job->result = JOB_RUNNING;
    job->pending = 1;
    job->abort = 0;
    job->progress = 0;
    job->detail = 0;
    struct msg_job_started started = {.job = job->number};
    give(reply, &started, sizeof started);
}

static int check_bank(uint8_t bank, struct reply *reply)
{
    if (bank < BANK_COUNT)
        return 1;
    refuse(reply, STATUS_BAD_ARGUMENT, "bank %u does not exist; 0 downstream, 1 upstream", (uint32_t)bank);
    return 0;
}

static int check_link_run(const struct msg_link_run *run, struct reply *reply)
{
    uint32_t banks = (1u << BANK_COUNT) - 1;
    if (run->frames == 0)
        refuse(reply, STATUS_BAD_ARGUMENT, "0 frames; ask for at least 1");
    else if (run->length_bytes > WORK_BYTES)
        refuse(reply, STATUS_BAD_ARGUMENT, "frames of %u bytes; at most %u", run->length_bytes,
               (uint32_t)WORK_BYTES);
    else if ((run->send_banks | run->receive_banks) & ~banks || !(run->send_banks | run->receive_banks) ||
             run->send_banks & run->receive_banks)
        refuse(
            reply, STATUS_BAD_ARGUMENT,
            "banks 0x%x send and 0x%x receive; bit 0 is downstream, bit 1 upstream, each sends or receives",
            (uint32_t)run->send_banks, (uint32_t)run->receive_banks);
    else if (run->pattern > PATTERN_PRBS31)
        refuse(reply, STATUS_BAD_ARGUMENT, "pattern %u does not exist; 0 to %u", (uint32_t)run->pattern,
               (uint32_t)PATTERN_PRBS31);
    else if (run->stall_edge > EDGE_ACK_LOWER)
        refuse(reply, STATUS_BAD_ARGUMENT, "edge %u does not exist; 1 to %u, or 0 for none",
               (uint32_t)run->stall_edge, (uint32_t)EDGE_ACK_LOWER);
    else
        return 1;
    return 0;
}

static void handle_link_run(struct board *board, const struct request *request, struct reply *reply)
{
    struct msg_link_run *run = &board->job.request.link_run;
    memcpy(run, request->payload, sizeof *run);
    if (check_link_run(run, reply))
        accept_job(board, COMMAND_LINK_RUN, reply);
}

/* LINK_SEND and LINK_RECEIVE: the plain run of one bank. */
static void start_link_test(struct board *board, enum command_code command, const struct request *request,
                            struct reply *reply)
{
    struct msg_link_test test;
    struct msg_link_run *run = &board->job.request.link_run;
    memcpy(&test, request->payload, sizeof test);
    if (!check_bank(test.bank, reply))
        return;
    uint8_t bank_bit = (uint8_t)(1u << test.bank);
    *run = (struct msg_link_run){
        .send_banks = command == COMMAND_LINK_SEND ? bank_bit : 0,
        .receive_banks = command == COMMAND_LINK_RECEIVE ? bank_bit : 0,
        .frames = test.frames,
        .length_bytes = test.length_bytes,
        .seed = test.seed,
        .timeout_ms = test.timeout_ms,
        .flip_bit = PATTERN_WIRES,
    };
    if (check_link_run(run, reply))
        accept_job(board, command, reply);
}

static void handle_link_send(struct board *board, const struct request *request, struct reply *reply)
{
    start_link_test(board, COMMAND_LINK_SEND, request, reply);
}

static void handle_link_receive(struct board *board, const struct request *request, struct reply *reply)
{
    start_link_test(board, COMMAND_LINK_RECEIVE, request, reply);
}

static void handle_link_result(struct board *board, const struct request *request, struct reply *reply)
{
    if (!check_bank(request->payload[0], reply))
        return;
    struct msg_link_result result;
    link_job_result(board, request->payload[0], &result);
    give(reply, &result, sizeof result);
}

int check_model(const struct board *board, struct reply *reply)
{
    if (board->shard_count)
        return 1;
    refuse(reply, STATUS_NO_MODEL, "%s", board->model_text);
    return 0;
}

static void handle_serve(struct board *board, const struct request *request, struct reply *reply)
{
    if (!check_model(board, reply))
        return;
    if (head_model(board)->has_head) {
        refuse(reply, STATUS_WRONG_ROLE, "rank %u holds the head; it takes GENERATE, not SERVE",
               head_model(board)->rank);
        return;
    }
    memcpy(&board->job.request.serve, request->payload, sizeof board->job.request.serve);
    accept_job(board, COMMAND_SERVE, reply);
}

static int check_prompt(const struct board *board, uint32_t positions, uint32_t prompt_count,
                        struct reply *reply)
{
    const struct model_config *config = &board->models[0].config;
    if (prompt_count == 0 || prompt_count > positions || positions > config->seq_len) {
        refuse(reply, STATUS_BAD_ARGUMENT,
               "a prompt of %u tokens and %u positions: 1 <= prompt <= positions <= %u (the model's context)",
               prompt_count, positions, config->seq_len);
        return 0;
    }
    for (uint32_t i = 0; i < prompt_count; i++) {
        if (board->prompt[i] >= config->vocab_size) {
            refuse(reply, STATUS_BAD_ARGUMENT, "prompt token %u is %u; the vocabulary ends at %u", i,
                   (uint32_t)board->prompt[i], config->vocab_size);
            return 0;
        }
    }
    return 1;
}

static void handle_generate(struct board *board, const struct request *request, struct reply *reply)
{
    if (!check_model(board, reply))
        return;
    if (!head_model(board)->has_head || !head_model(board)->has_embed) {
        refuse(reply, STATUS_WRONG_ROLE, "rank %u has no head; it takes SERVE, not GENERATE",
               (uint32_t)board->rank);
        return;
    }
    const struct msg_generate *asked = (const struct msg_generate *)(const void *)request->payload;
    uint32_t prompt_bytes = request->size - (uint32_t)sizeof *asked;
    memcpy(board->prompt, asked->prompt, prompt_bytes);
    board->job.request.generate = (struct generate_request){
        .flags = asked->flags,
        .positions = asked->positions,
        .timeout_ms = asked->timeout_ms,
        .prompt_count = prompt_bytes / 2,
        .temperature = asked->temperature,
        .topp = asked->topp,
        .rng_seed = asked->rng_seed,
    };
    if (prompt_bytes % 2)
        refuse(reply, STATUS_BAD_LENGTH, "a prompt of %u bytes; tokens have two bytes each", prompt_bytes);
    else if (check_prompt(board, asked->positions, prompt_bytes / 2, reply))
        accept_job(board, COMMAND_GENERATE, reply);
}

/* --- links and pins --- */

static void give_pins(struct reply *reply)
{
    struct msg_pin_levels levels = {.gplev0 = gpio_levels(), .outputs = gpio_outputs()};
    give(reply, &levels, sizeof levels);
}

static void handle_link_counters(struct board *board, const struct request *request, struct reply *reply)
{
    if (!check_bank(request->payload[0], reply))
        return;
    const struct link_counts *counts = &board->links[request->payload[0]].counts;
    struct msg_link_counters counters = {
        .frames_sent = counts->frames_sent,
        .frames_received = counts->frames_received,
        .bytes_sent = counts->bytes_sent,
        .bytes_received = counts->bytes_received,
        .resends = counts->resends,
        .bad_headers = counts->bad_headers,
        .bad_payloads = counts->bad_payloads,
        .duplicates = counts->duplicates,
        .timeouts = counts->timeouts,
        .turnarounds = counts->turnarounds,
    };
    give(reply, &counters, sizeof counters);
}

static void handle_link_reset(struct board *board, const struct request *request, struct reply *reply)
{
    if (!check_bank(request->payload[0], reply))
        return;
    struct link *link = &board->links[request->payload[0]];
    link_reset(link);
    gpio_pull(link->bank.data | link->bank.clk | link->bank.ack, GPIO_PULL_DOWN);
    give_pins(reply);
}

static void handle_pin_mode(struct board *board, const struct request *request, struct reply *reply)
{
    (void)board;
    struct msg_pin_mode mode;
    memcpy(&mode, request->payload, sizeof mode);
    if (mode.pin_mask & ~(uint32_t)RING_PINS)
        refuse(reply, STATUS_BAD_ARGUMENT, "pins 0x%x are not the ring's; allowed are 0x%x",
               mode.pin_mask & ~(uint32_t)RING_PINS, (uint32_t)RING_PINS);
    else if (mode.pull > GPIO_PULL_UP)
        refuse(reply, STATUS_BAD_ARGUMENT, "pull %u does not exist; 0 none, 1 down, 2 up",
               (uint32_t)mode.pull);
    else {
        gpio_function(mode.pin_mask, GPIO_INPUT);
        gpio_pull(mode.pin_mask, (enum gpio_pull)mode.pull);
        give_pins(reply);
    }
}

static void handle_pin_drive(struct board *board, const struct request *request, struct reply *reply)
{
    (void)board;
    struct msg_pin_drive drive;
    memcpy(&drive, request->payload, sizeof drive);
    if (drive.pin > 31 || !((uint32_t)RING_PINS >> drive.pin & 1)) {
        refuse(reply, STATUS_BAD_ARGUMENT, "GPIO %u is not one of the ring's pins (4..13, 16..25)",
               (uint32_t)drive.pin);
        return;
    }
    uint32_t pin = 1u << drive.pin;
    if (!drive.drive) {
        gpio_function(pin, GPIO_INPUT);
        give_pins(reply);
        return;
    }
    if (drive.level > 1 || drive.drive_ma < DRIVE_MA_MIN || drive.drive_ma > DRIVE_MA_MAX) {
        refuse(reply, STATUS_BAD_ARGUMENT, "level %u at %u mA; a level is 0 or 1, the drive %u..%u mA",
               (uint32_t)drive.level, (uint32_t)drive.drive_ma, (uint32_t)DRIVE_MA_MIN,
               (uint32_t)DRIVE_MA_MAX);
        return;
    }
    gpio_drive_strength(drive.drive_ma);
    if (drive.level)
        gpio_set(pin);
    else
        gpio_clear(pin);
    gpio_function(pin, GPIO_OUTPUT);
    give_pins(reply);
}

static void handle_pin_read(struct board *board, const struct request *request, struct reply *reply)
{
    (void)board;
    (void)request;
    give_pins(reply);
}

/* --- the model --- */

static void handle_model_info(struct board *board, const struct request *request, struct reply *reply)
{
    (void)request;
    if (!check_model(board, reply))
        return;
    if (!board->shard_crc32_known) {
        board->shard_crc32 = crc32_update(CRC32_START, (const void *)SHARD_ADDRESS, board->shard_bytes);
        board->shard_crc32_known = 1;
    }
    const struct model_config *config = &board->models[0].config;
    struct msg_model_info info = {
        .dim = config->dim,
        .hidden_dim = config->hidden_dim,
        .n_layers = config->n_layers,
        .n_heads = config->n_heads,
        .n_kv_heads = config->n_kv_heads,
        .vocab_size = config->vocab_size,
        .seq_len = config->seq_len,
        .shared_classifier = config->shared_classifier != 0,
        .shard_crc32 = board->shard_crc32,
        .arena_used_bytes = board->models[0].arena_needed_bytes,
        .arena_size_bytes = board->models[0].arena_bytes,
    };
    give(reply, &info, sizeof info);
}

static void handle_taps_read(struct board *board, const struct request *request, struct reply *reply)
{
    if (!check_model(board, reply))
        return;
    struct msg_taps_read asked;
    memcpy(&asked, request->payload, sizeof asked);
    if (asked.shard >= board->shard_count) {
        refuse(reply, STATUS_BAD_ARGUMENT, "shard %u of %u; they count from 0", (uint32_t)asked.shard,
               board->shard_count);
        return;
    }
    const struct tap_log *taps = &board->models[asked.shard].taps;
    uint32_t bytes_each = asked.full ? sizeof(struct tap_entry) : sizeof(uint32_t);
    uint32_t count = asked.first < taps->count ? taps->count - asked.first : 0;
    uint32_t count_max = (REPLY_BYTES_MAX - (uint32_t)sizeof(struct msg_taps_part)) / bytes_each;
    count = count < asked.count ? count : asked.count;
    count = count < count_max ? count : count_max;
    struct msg_taps_part part = {.total = taps->count, .first = asked.first, .dropped = taps->dropped};
    reply->size = sizeof part;
    for (uint32_t i = asked.first; i < asked.first + count; i++) {
        const struct tap_entry *entry = &taps->entries[i];
        part.keys_crc32 = crc32_update(part.keys_crc32, &entry->key, sizeof entry->key);
        if (asked.full)
            give(reply, entry, sizeof *entry);
        else
            give(reply, &entry->crc32, sizeof entry->crc32);
    }
    memcpy(reply->payload, &part, sizeof part);
}

static void handle_taps_clear(struct board *board, const struct request *request, struct reply *reply)
{
    (void)request;
    check_model(board, reply);
    for (uint32_t i = 0; i < board->shard_count; i++)
        tap_log_clear(&board->models[i].taps);
}

static void handle_tokens_read(struct board *board, const struct request *request, struct reply *reply)
{
    struct msg_tokens_read asked;
    memcpy(&asked, request->payload, sizeof asked);
    uint32_t count = asked.first < board->token_count ? board->token_count - asked.first : 0;
    uint32_t count_max = (REPLY_BYTES_MAX - (uint32_t)sizeof(struct msg_tokens_part)) / 2;
    struct msg_tokens_part part = {.total = (uint16_t)board->token_count, .first = asked.first};
    give(reply, &part, sizeof part);
    give(reply, board->tokens + asked.first, (count < count_max ? count : count_max) * 2);
}

static void handle_bench(struct board *board, const struct request *request, struct reply *reply)
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

/* --- the table --- */

static const struct command_row rows[] = {
    {COMMAND_IDENTIFY, 1, 0, sizeof(struct msg_identify), handle_identify},
    {COMMAND_PING, 1, 1, 0, handle_ping},
    {COMMAND_HEALTH, 0, 0, 0, handle_health},
    {COMMAND_REBOOT, 0, 0, sizeof(struct msg_reboot), handle_reboot},
    {COMMAND_MEMORY_READ, 0, 0, sizeof(struct msg_memory_read), handle_memory_read},
    {COMMAND_CRASH, 0, 0, sizeof(struct msg_crash), handle_crash},
    {COMMAND_JOB_STATUS, 1, 0, 0, handle_job_status},
    {COMMAND_JOB_ABORT, 1, 0, 0, handle_job_abort},
    {COMMAND_LINK_SEND, 0, 0, sizeof(struct msg_link_test), handle_link_send},
    {COMMAND_LINK_RECEIVE, 0, 0, sizeof(struct msg_link_test), handle_link_receive},
    {COMMAND_LINK_COUNTERS, 0, 0, sizeof(struct msg_link_bank), handle_link_counters},
    {COMMAND_LINK_RESET, 0, 0, sizeof(struct msg_link_bank), handle_link_reset},
    {COMMAND_LINK_RUN, 0, 0, sizeof(struct msg_link_run), handle_link_run},
    {COMMAND_LINK_RESULT, 0, 0, sizeof(struct msg_link_bank), handle_link_result},
    {COMMAND_PIN_MODE, 0, 0, sizeof(struct msg_pin_mode), handle_pin_mode},
    {COMMAND_PIN_DRIVE, 0, 0, sizeof(struct msg_pin_drive), handle_pin_drive},
    {COMMAND_PIN_READ, 0, 0, 0, handle_pin_read},
    {COMMAND_MODEL_INFO, 0, 0, 0, handle_model_info},
    {COMMAND_SERVE, 0, 0, sizeof(struct msg_serve), handle_serve},
    {COMMAND_GENERATE, 0, 1, sizeof(struct msg_generate), handle_generate},
    {COMMAND_TRAIN_SETUP, 0, 0, sizeof(struct msg_train_setup), handle_train_setup},
    {COMMAND_TRAIN_TOKENS, 0, 1, sizeof(struct msg_train_tokens), handle_train_tokens},
    {COMMAND_TRAIN_STEP, 0, 0, sizeof(struct msg_train_step), handle_train_step},
    {COMMAND_TRAIN_RESULT, 0, 0, 0, handle_train_result},
    {COMMAND_TAPS_READ, 0, 0, sizeof(struct msg_taps_read), handle_taps_read},
    {COMMAND_TAPS_CLEAR, 0, 0, 0, handle_taps_clear},
    {COMMAND_TOKENS_READ, 0, 0, sizeof(struct msg_tokens_read), handle_tokens_read},
    {COMMAND_BENCH, 0, 0, sizeof(struct msg_bench), handle_bench},
};

static const struct command_row *find_row(uint8_t code)
{
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].code == code)
            return &rows[i];
    }
    return 0;
}

void command_execute(struct board *board, const struct console_command *command)
{
    const struct command_row *row = find_row(command->code);
    struct request request = {command->payload, command->size_bytes};
    struct reply reply = {.payload = console_response_payload(), .status = STATUS_OK};
    if (!row)
        refuse(&reply, STATUS_UNKNOWN_COMMAND, "command 0x%x does not exist in protocol %u",
               (uint32_t)command->code, PROTOCOL_VERSION);
    else if (row->with_tail ? request.size < row->size_bytes : request.size != row->size_bytes)
        refuse(&reply, STATUS_BAD_LENGTH, "the request has %u bytes; it takes %u%s", request.size,
               (uint32_t)row->size_bytes, row->with_tail ? " or more" : "");
    else if (board->job.result == JOB_RUNNING && !row->with_job)
        refuse(&reply, STATUS_BUSY, "job %u runs; wait for JOB_DONE or send JOB_ABORT", board->job.number);
    else
        row->run(board, &request, &reply);
    console_respond(reply.status, reply.size);
}
