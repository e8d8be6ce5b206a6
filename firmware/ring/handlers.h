/* handlers.h: the handlers of all commands, by file. Private to firmware/ring; the table is in commands.c.
 * A handler looks at a request whose size is right already, and either fills the reply or refuses. */
#ifndef HANDLERS_H
#define HANDLERS_H

#include "reply.h"

typedef void handler(struct board *board, const struct request *request, struct reply *reply);

/* board_commands.c */
handler handle_identify, handle_ping, handle_health, handle_reboot, handle_memory_read, handle_crash,
    handle_bench, handle_job_status, handle_job_abort;

/* line.c */
handler handle_set_baud, handle_keep_baud, handle_set_watchdog;

/* memory_commands.c */
handler handle_memory_map, handle_memory_crc;

/* link_commands.c */
handler handle_link_run, handle_link_result, handle_link_counters, handle_link_reset, handle_pin_mode,
    handle_pin_drive, handle_pin_read;

/* model_commands.c */
handler handle_serve, handle_generate, handle_model_info, handle_taps_read, handle_taps_clear,
    handle_tokens_read;

/* train_commands.c */
handler handle_train_setup, handle_train_tokens, handle_train_step, handle_train_apply, handle_train_result;

/* tensor_commands.c */
handler handle_tensor_keep, handle_tensor_digests, handle_tensor_read, handle_tensor_write,
    handle_parameters_read, handle_replay;

/* trace_commands.c */
handler handle_trace_start, handle_trace_stop, handle_trace_clear, handle_trace_read;

#endif
