/* link_commands.c: commands of links and pins. The runs themselves: link_jobs.h. Contract: handlers.h. */
#include "gpio.h"
#include "handlers.h"
#include "link_jobs.h"
#include "runtime.h"

enum {
    DRIVE_MA_MIN = 2,
    DRIVE_MA_MAX = 16,
};

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
        refuse(reply, STATUS_BAD_ARGUMENT, "frames of %u bytes; at most %u", run->length_bytes, WORK_BYTES);
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

void handle_link_run(struct board *board, const struct request *request, struct reply *reply)
{
    struct msg_link_run *run = &board->job.request.link_run;
    memcpy(run, request->payload, sizeof *run);
    if (check_link_run(run, reply))
        accept_job(board, COMMAND_LINK_RUN, reply);
}

void handle_link_result(struct board *board, const struct request *request, struct reply *reply)
{
    if (!check_bank(request->payload[0], reply))
        return;
    struct msg_link_result result;
    link_job_result(board, request->payload[0], &result);
    give(reply, &result, sizeof result);
}

static void give_pins(struct reply *reply)
{
    struct msg_pin_levels levels = {.gplev0 = gpio_levels(), .outputs = gpio_outputs()};
    give(reply, &levels, sizeof levels);
}

void handle_link_counters(struct board *board, const struct request *request, struct reply *reply)
{
    if (!check_bank(request->payload[0], reply))
        return;
    const struct link_counters *counts = &board->links[request->payload[0]].counts;
    give(reply, counts, sizeof *counts);
}

void handle_link_reset(struct board *board, const struct request *request, struct reply *reply)
{
    if (!check_bank(request->payload[0], reply))
        return;
    struct link *link = &board->links[request->payload[0]];
    link_reset(link);
    gpio_pull(link->bank.data | link->bank.clk | link->bank.ack, GPIO_PULL_DOWN);
    give_pins(reply);
}

void handle_pin_mode(struct board *board, const struct request *request, struct reply *reply)
{
    (void)board;
    struct msg_pin_mode mode;
    memcpy(&mode, request->payload, sizeof mode);
    if (mode.pin_mask & ~RING_PINS)
        refuse(reply, STATUS_BAD_ARGUMENT, "pins 0x%x are not the ring's; allowed are 0x%x",
               mode.pin_mask & ~RING_PINS, RING_PINS);
    else if (mode.pull > GPIO_PULL_UP)
        refuse(reply, STATUS_BAD_ARGUMENT, "pull %u does not exist; 0 none, 1 down, 2 up",
               (uint32_t)mode.pull);
    else {
        gpio_function(mode.pin_mask, GPIO_INPUT);
        gpio_pull(mode.pin_mask, (enum gpio_pull)mode.pull);
        give_pins(reply);
    }
}

void handle_pin_drive(struct board *board, const struct request *request, struct reply *reply)
{
    (void)board;
    struct msg_pin_drive drive;
    memcpy(&drive, request->payload, sizeof drive);
    if (drive.pin > 31 || !(RING_PINS >> drive.pin & 1)) {
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

void handle_pin_read(struct board *board, const struct request *request, struct reply *reply)
{
    (void)board;
    (void)request;
    give_pins(reply);
}
