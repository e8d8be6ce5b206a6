/* sim.h: the simulated ring as Python sees it. Twin: hil/sim/core.py.
 *
 * One `sim` holds 1..16 boards, the nets between their pads and a virtual clock in picoseconds.
 * Nothing here is thread-safe; every call but sim_run returns at once. */
#ifndef SIM_H
#define SIM_H

#include <stdint.h>

#define SIM_BOARDS_MAX  16
#define SIM_PINS        54
#define SIM_DRIVERS_MAX 4
/* Half of the range, so that small times may be added to it. */
#define SIM_NEVER (UINT64_MAX >> 1)

#if defined(__GNUC__)
#define SIM_API __attribute__((visibility("default")))
#else
#define SIM_API
#endif

typedef struct sim sim_t;

typedef struct {
    uint64_t ram_bytes;
    uint64_t serial;
    uint64_t start_delay_ps; /* from power on to the start of the boot ROM */
    double drift_ppm;        /* of the board's crystal; positive = fast */
    uint32_t revision;
    uint32_t temperature_mc;
} sim_board_setup_t;

/* What the GPU did with the SD card; filled in by the boot callback. */
typedef struct {
    uint64_t delay_ps;     /* reset to the first ARM instruction */
    uint64_t pull_up_mask; /* gpio= lines of config.txt, applied just before the ARM starts */
    uint64_t pull_down_mask;
    uint64_t pull_none_mask;
    uint32_t has_kernel; /* 0: nothing to start, the board stays silent */
    uint32_t entry;
    uint32_t r2;
    uint32_t arm_hz;
    uint32_t arm_hz_max;
    uint32_t core_hz;
    uint32_t uart_hz;
    uint32_t gpu_mem_bytes;
    uint32_t mini_uart_baud; /* not 0: the mini-UART is on and routed to GPIO 14/15 */
} sim_boot_plan_t;

/* Called on the caller's stack at power on and at every reset; may write the board's RAM. */
typedef void (*sim_boot_fn)(uint32_t board, sim_boot_plan_t *plan);

/* Why outputs on a net disagree. */
enum {
    SIM_CONFLICT_NONE,
    SIM_CONFLICT_OUTPUTS, /* two outputs on one wire */
    SIM_CONFLICT_BRIDGE,  /* two outputs that a bridge joins */
    SIM_CONFLICT_STUCK,   /* an output and a short to ground or supply */
};

typedef struct {
    uint64_t start_ps;
    uint64_t end_ps; /* SIM_NEVER while it lasts */
    uint32_t kind;   /* SIM_CONFLICT_ */
    uint32_t count;  /* drivers below */
    struct {
        uint32_t board, pin, level, pc;
    } driver[SIM_DRIVERS_MAX];
} sim_contention_t;

/* Things that real silicon would punish. The texts are in hil/sim/records.py. */
enum {
    SIM_LINT_UNIMPLEMENTED_READ = 1,
    SIM_LINT_UNIMPLEMENTED_WRITE,
    SIM_LINT_PM_PASSWORD,
    SIM_LINT_MAILBOX_ALIGNMENT,
    SIM_LINT_MAILBOX_EMPTY_READ,
    SIM_LINT_MAILBOX_OVERFLOW,
    SIM_LINT_MAILBOX_BUFFER,
    SIM_LINT_MAILBOX_TAG,
    SIM_LINT_FSEL_UART,
    SIM_LINT_PULL_SETUP,
    SIM_LINT_PULL_HOLD,
    SIM_LINT_UART_TX_FULL,
    SIM_LINT_UART_TX_DISABLED,
    SIM_LINT_UART_DIVISOR,
    SIM_LINT_VFP_NOT_RUNFAST,
    SIM_LINT_VFP_DISABLED,
    SIM_LINT_DOUBLE_FAULT,
    SIM_LINT_HALTED,
    SIM_LINT_NO_KERNEL,
    SIM_LINT_ACCESS_SIZE,
    SIM_LINT_UNALIGNED,
    SIM_LINT_V3D_OFF,
    SIM_LINT_V3D_QUEUE,
    SIM_LINT_V3D_COUNTER,
    SIM_LINT_GPU_MEMORY,
    SIM_LINT_QPU_HAZARD,
    SIM_LINT_QPU_VPM_EARLY,
    SIM_LINT_QPU_VPM_QUEUE,
    SIM_LINT_QPU_TMU_LEFT,
    SIM_LINT_QPU_STUCK,
    SIM_LINT_REFUSED,
    SIM_LINT_QPU_ROTATION,
};

typedef struct {
    uint64_t time_ps;
    uint32_t kind;
    uint32_t pc; /* start of the block that did it */
    uint32_t address;
    uint32_t value;
    uint32_t count;
} sim_lint_t;

typedef struct {
    uint64_t instructions;
    uint64_t gpio_reads;
    uint64_t gpio_writes;
    uint64_t other_mmio;
    uint64_t resets;
    uint64_t sleeps;
    uint64_t switches;
    uint64_t exceptions;
    uint64_t uart_overruns;
    uint64_t uart_received; /* bytes that reached a receive FIFO */
    uint64_t uart_sent;     /* bytes that left towards the host */
    uint64_t qpu_instructions;
} sim_counters_t;

typedef struct {
    uint64_t time_ps;
    uint32_t pad;   /* board * SIM_PINS + pin; or SIM_TRACE_MARK | board */
    uint32_t level; /* 0, 1, 2 = undefined, 3 = contention; or SIM_MARK_ */
} sim_trace_t;

#define SIM_TRACE_MARK 0x10000u
enum {
    SIM_MARK_POWER_ON,
    SIM_MARK_POWER_OFF,
    SIM_MARK_RESET,
    SIM_MARK_WATCHDOG,
    SIM_MARK_STARTS,
    SIM_MARK_HALTED,
};
/* What a fault does to a board. Halted: it executes nothing more, its pads stay as they are. */
enum {
    SIM_STRIKE_HALT,
    SIM_STRIKE_RESET,
    SIM_STRIKE_OFF,
};

/* What happens to a byte of a serial line. */
enum {
    SIM_NOISE_DROP,
    SIM_NOISE_CORRUPT,
    SIM_NOISE_DUPLICATE,
    SIM_NOISE_KINDS
};

typedef enum {
    SIM_OFF,
    SIM_BOOTING,
    SIM_RUNNING,
    SIM_SLEEPING,
    SIM_HALTED,
    SIM_OUTSIDE /* not a board: see sim_outside */
} sim_state_t;

SIM_API sim_t *sim_new(uint32_t boards, uint64_t seed, sim_boot_fn boot);
SIM_API void sim_free(sim_t *sim);
SIM_API int sim_board_setup(sim_t *sim, uint32_t board, const sim_board_setup_t *setup);
/* Wiring: clear, add, commit. May be repeated between two calls of sim_run; levels follow at once. */
SIM_API void sim_nets_clear(sim_t *sim);
SIM_API int sim_wire(sim_t *sim, uint32_t board_a, uint32_t pin_a, uint32_t board_b, uint32_t pin_b);
/* level: what wins when outputs meet through the bridge. */
SIM_API int sim_bridge(sim_t *sim, uint32_t board_a, uint32_t pin_a, uint32_t board_b, uint32_t pin_b,
                       uint32_t level);
SIM_API int sim_tie(sim_t *sim, uint32_t board, uint32_t pin, uint32_t level);
SIM_API int sim_noise(sim_t *sim, uint32_t board, uint32_t pin);
SIM_API int sim_delay(sim_t *sim, uint32_t board_a, uint32_t pin_a, uint32_t board_b, uint32_t pin_b,
                      uint64_t delay_ps); /* instead of a wire */
SIM_API int sim_glitch(sim_t *sim, uint32_t board, uint32_t pin, uint32_t clock_board, uint32_t clock_pin,
                       double rate, uint64_t width_ps);
SIM_API int sim_strike_at(sim_t *sim, uint32_t board, uint32_t action, uint64_t after_ps); /* from now */
SIM_API int sim_strike_after(sim_t *sim, uint32_t board, uint32_t action, uint64_t clock_pins,
                             uint64_t edges);
SIM_API int sim_hang_up_at(sim_t *sim, uint32_t board, uint64_t after_ps); /* from now */
SIM_API int sim_nets_commit(sim_t *sim);
SIM_API void sim_drift(sim_t *sim, uint32_t board, double drift_ppm); /* from the next start on */
SIM_API void sim_allow_sleep(sim_t *sim, int allow);

SIM_API int sim_power_on(sim_t *sim, uint32_t board);
SIM_API void sim_power_off(sim_t *sim, uint32_t board);
SIM_API int sim_reset(sim_t *sim, uint32_t board);
SIM_API int sim_state(sim_t *sim, uint32_t board);
SIM_API uint64_t sim_start_ps(sim_t *sim, uint32_t board); /* of the board's first instruction */

/* Makes one of the boards a participant without processor, power or UART: pads that the caller drives. It is wired
 * as a board is. Before any board has power. */
SIM_API int sim_outside(sim_t *sim, uint32_t board);
/* Between two calls of sim_run: what it does to its pads from now on. */
SIM_API void sim_outside_drive(sim_t *sim, uint32_t board, uint64_t outputs, uint64_t levels,
                               uint64_t pull_up, uint64_t pull_down);
/* Pads whose next change of level ends sim_run, at the time of the change. */
SIM_API void sim_outside_watch(sim_t *sim, uint32_t board, uint64_t pins);

SIM_API uint64_t sim_time_ps(sim_t *sim);
/* -1: a board does what is not modelled; sim_error says what. 1: a board of stop_mask has bytes for the host or has hung up. 2: a watched pad has changed. 0: until_ps
 * reached. */
SIM_API int sim_run(sim_t *sim, uint64_t until_ps, uint32_t stop_mask);

SIM_API int sim_uart_write(sim_t *sim, uint32_t board, const uint8_t *data, uint32_t size);
SIM_API uint32_t sim_uart_read(sim_t *sim, uint32_t board, uint8_t *data, uint32_t limit);
SIM_API uint32_t sim_uart_pending(sim_t *sim, uint32_t board);
SIM_API uint32_t sim_uart_tx_pending(sim_t *sim, uint32_t board);
SIM_API void sim_uart_set_baud(sim_t *sim, uint32_t board, uint32_t baud);
SIM_API int sim_uart_noise(sim_t *sim, uint32_t board, uint32_t kind, double rate); /* SIM_NOISE_ */
/* Above this baud one byte in sixteen is damaged; 0: no limit. */
SIM_API void sim_uart_limit(sim_t *sim, uint32_t board, uint32_t baud);
SIM_API int sim_uart_hung_up(sim_t *sim, uint32_t board);

SIM_API uint8_t *sim_ram(sim_t *sim, uint32_t board);
SIM_API void sim_ram_changed(sim_t *sim, uint32_t board, uint32_t address, uint32_t size);
SIM_API int sim_registers(sim_t *sim, uint32_t board, uint32_t regs[17]);
SIM_API void sim_counters(sim_t *sim, uint32_t board, sim_counters_t *out);
SIM_API uint32_t sim_contentions(sim_t *sim, const sim_contention_t **out);
SIM_API void sim_contentions_forget(sim_t *sim); /* those that are over */
SIM_API uint32_t sim_lints(sim_t *sim, uint32_t board, const sim_lint_t **out);
SIM_API uint32_t sim_level(sim_t *sim, uint32_t board, uint32_t pin);
SIM_API void sim_trace_pad(sim_t *sim, uint32_t board, uint32_t pin, int on);
/* Forgets all records but the latest. */
SIM_API void sim_trace_keep(sim_t *sim, uint32_t latest);
SIM_API uint32_t sim_trace_take(sim_t *sim, sim_trace_t *out, uint32_t limit);
SIM_API const char *sim_error(sim_t *sim);
/* Runs two coroutines through `rounds` switches; returns a checksum of callee-saved state, 0 if any was lost. */
SIM_API uint64_t sim_switch_selftest(uint32_t rounds);

#endif
