/* line.c: raising the baud, and the watchdog. Contract: line.h, handlers.h. Host: hil/board/baud.py.
 * A baud is on trial until KEEP_BAUD comes at it; else the board goes back by itself. Later, a run of bytes without
 * stop bits and no good command among them means that the host is elsewhere: back to the boot baud, too. */
#include "line.h"

#include "console.h"
#include "handlers.h"
#include "power.h"
#include "runtime.h"
#include "timer.h"
#include "uart.h"

enum {
    BAUD_MIN = 1200,
    TRIAL_MS_MAX = 60000,
    FRAMING_ERRORS_MAX = 16,
    WATCHDOG_MS_MIN = 100,
    BEATS_PER_LIMIT = 8,
};

static void note_work(struct line *line) { line->busy = line->asked_baud || line->raised || line->beat_us; }

static void set_baud(struct board *board, uint32_t baud)
{
    struct line *line = &board->line;
    console_flush();
    board->baud = uart_set_baud(line->clock_hz, baud);
    line->raised = baud != line->boot_baud;
    line->framing_errors = uart_framing_errors();
    line->commands = console_commands();
    note_work(line);
}

static void go_back(struct board *board, const char *why)
{
    uint32_t was = board->baud;
    board->line.on_trial = 0;
    set_baud(board, board->line.boot_baud);
    console_log(LEVEL_WARNING, "back from %u to %u baud: %s", was, board->baud, why);
}

/* Many bytes without a stop bit: has the host been understood meanwhile? */
static void judge_framing_errors(struct board *board)
{
    struct line *line = &board->line;
    if (line->commands == console_commands() && !line->on_trial)
        go_back(board, "nothing but framing errors");
    line->framing_errors = uart_framing_errors();
    line->commands = console_commands();
}

void line_serve(struct board *board)
{
    struct line *line = &board->line;
    if (line->beat_us && timer_beat_passed()) {
        power_watchdog_feed();
        timer_beat_set(line->beat_us);
    }
    if (line->raised && uart_framing_errors() - line->framing_errors >= FRAMING_ERRORS_MAX)
        judge_framing_errors(board);
}

void line_change(struct board *board)
{
    struct line *line = &board->line;
    if (line->asked_baud) {
        set_baud(board, line->asked_baud);
        line->asked_baud = 0;
        line->on_trial = line->raised;
        line->trial_from_us = timer_now_us();
    }
    if (line->on_trial && timer_now_us() - line->trial_from_us >= line->trial_us)
        go_back(board, "nobody confirmed it");
}

void handle_set_baud(struct board *board, const struct request *request, struct reply *reply)
{
    struct msg_set_baud asked;
    memcpy(&asked, request->payload, sizeof asked);
    uint32_t most = board->line.clock_hz / 16; /* up to there the divisor's step is 1.6 % or less */
    if (asked.baud < BAUD_MIN || asked.baud > most || asked.trial_ms == 0 || asked.trial_ms > TRIAL_MS_MAX) {
        refuse(reply, STATUS_BAD_ARGUMENT, "%u baud on trial for %u ms: %u to %u baud, 1 to %u ms",
               asked.baud, asked.trial_ms, (uint32_t)BAUD_MIN, most, (uint32_t)TRIAL_MS_MAX);
        return;
    }
    board->line.asked_baud = asked.baud;
    note_work(&board->line);
    board->line.trial_us = asked.trial_ms * 1000u;
    struct msg_baud_set answer = {.baud = uart_real_baud(board->line.clock_hz, asked.baud)};
    give(reply, &answer, sizeof answer);
}

void handle_keep_baud(struct board *board, const struct request *request, struct reply *reply)
{
    (void)request;
    if (board->line.raised)
        board->line.on_trial = 0;
    else
        refuse(reply, STATUS_BAD_ARGUMENT, "no baud is on trial; the line runs at %u", board->baud);
}

void handle_set_watchdog(struct board *board, const struct request *request, struct reply *reply)
{
    struct msg_watchdog asked;
    memcpy(&asked, request->payload, sizeof asked);
    if (asked.limit_ms && (asked.limit_ms < WATCHDOG_MS_MIN || asked.limit_ms > WATCHDOG_MS_MAX)) {
        refuse(reply, STATUS_BAD_ARGUMENT, "a watchdog of %u ms: %u to %u, or 0 for none", asked.limit_ms,
               (uint32_t)WATCHDOG_MS_MIN, (uint32_t)WATCHDOG_MS_MAX);
        return;
    }
    board->line.beat_us = asked.limit_ms * 1000u / BEATS_PER_LIMIT;
    note_work(&board->line);
    power_watchdog_arm(asked.limit_ms);
    timer_beat_set(board->line.beat_us);
    give(reply, &asked, sizeof asked);
}
