/* internal.h: the structures that the core's files share.
 *
 * Time: a board counts quarter cycles (`ticks`: 4 per instruction, plus a charge per peripheral access);
 * its virtual time follows from them, its clock and its drift. See docs/simulator.md. */
#ifndef SIM_INTERNAL_H
#define SIM_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <unicorn/unicorn.h>

#include "coroutine.h"
#include "sim.h"

#define NEVER     SIM_NEVER
#define PS_PER_US 1000000ull
#define PS_PER_NS 1000ull

/* A board may run ahead of the slowest by this much in code that touches nothing shared. Bytes from the
 * host need at least as long to leave the adapter (one USB microframe), so they never arrive in a board's past. */
#define WINDOW_PS       (125ull * PS_PER_US)
#define HOST_LATENCY_PS WINDOW_PS
/* Even a board alone looks up this often (checks that are made now and then). */
#define WINDOW_MAX_PS (1000ull * PS_PER_US)
/* The adapter hands bytes to the host in packets: FT232R at its smallest latency timer. */
#define ADAPTER_LATENCY_PS   (1000ull * PS_PER_US)
#define ADAPTER_PACKET_BYTES 62u

/* Registers go by their offset from here. Source: BCM2835 ARM Peripherals 1.2.3. */
#define PERIPHERALS       0x20000000u
#define PERIPHERALS_BYTES 0x01000000u
enum {
    BLOCK_BRIDGE = 0x00A000, /* asynchronous bridges between bus and power domains */
    BLOCK_ARM = 0x00B000,    /* interrupt controller, ARM timer, mailbox */
    BLOCK_PM = 0x100000,
    BLOCK_CLOCKS = 0x101000, /* two pages: CM and A2W */
    BLOCK_GPIO = 0x200000,
    BLOCK_PL011 = 0x201000,
    BLOCK_AUX = 0x215000,
    BLOCK_V3D = 0xC00000
};
enum {
    TIMER_CS = 0x3000,
    TIMER_CLO = 0x3004,
    TIMER_CHI = 0x3008
};

#define LINTS_MAX   256
#define BRIDGES_MAX 256
#define FAULTS_MAX  256 /* of each other kind */

/* Bus cost of one access in ns: GPLEV read 48 ns (RGBtoHDMI #250), SET/CLR write 22 ns (22 MHz toggling). */
#define MMIO_READ_NS  48
#define MMIO_WRITE_NS 22

enum {
    PL011_FIFO = 16,
    MINI_FIFO = 8,
    TX_RING = 4096
};

typedef struct {
    uint8_t byte;
    uint32_t baud;
    uint64_t end_ps;
} line_byte_t;

typedef struct {
    uint8_t byte;
    uint8_t routed; /* the pin carried it to the adapter */
    uint32_t baud;
    uint64_t start_ps, end_ps;
} tx_byte_t;

typedef struct {
    /* host side */
    uint32_t host_baud;
    line_byte_t *to_board; /* growable queue */
    size_t to_board_head, to_board_count, to_board_capacity;
    uint64_t line_free_ps;
    uint8_t *to_host;
    size_t to_host_head, to_host_count, to_host_capacity;
    double noise[SIM_NOISE_KINDS]; /* how often, per byte */
    uint32_t limit_baud;           /* above it the line damages bytes; 0: no limit */
    bool hung_up;
    uint64_t random;
    /* transmit pipeline of the board */
    tx_byte_t tx[TX_RING];
    uint32_t tx_head, tx_count;
    uint64_t tx_free_ps;
    /* receive FIFO, shared by whichever UART is routed to the pin */
    uint16_t rx[PL011_FIFO];
    uint32_t rx_head, rx_count;
    uint64_t rx_ps;       /* when the last character came */
    bool tx_armed;        /* the transmit FIFO has been above its level since it was last acknowledged */
    bool rx_overrun_next; /* PL011: OE goes with the next character that fits */
    /* PL011 */
    uint32_t ibrd, fbrd, lcrh, cr, ifls, imsc, rsr, ris_sticky;
    uint32_t divisor64; /* latched by LCRH: IBRD * 64 + FBRD */
    /* mini-UART */
    uint32_t aux_enables, mu_ier, mu_lcr, mu_mcr, mu_cntl, mu_baud, mu_scratch, mu_overrun;
} uart_t;

enum {
    POLL_LEV0,
    POLL_LEV1,
    POLL_FR,
    POLL_LSR,
    POLL_STAT,
    POLL_CHI,
    POLL_CS,
    POLL_MAIL,
    POLL_SRQCS,
    POLL_DBQITC,
    POLL_CLO,
    POLL_KINDS
};

/* Recognises a loop that only reads registers which do not change. */
typedef struct {
    uint32_t seen_mask;
    uint32_t value[POLL_KINDS];
    uint32_t anchor, anchor_block;
    uint32_t patience;     /* reads without the anchor after which another one is chosen */
    uint32_t reads;        /* since the streak began */
    uint32_t anchor_reads; /* `reads` at the last anchor read */
    uint32_t period_reads;
    uint64_t anchor_ticks, period_ticks;
    uint64_t anchor_charged, period_charged;
    uint64_t start_ps;
    uint32_t anchor_value;
    uint32_t step; /* by how much the timer's value moved between the last two anchor reads */
    bool have_registers;
    uint32_t registers[15];
} poll_t;

typedef struct {
    uint32_t reply;
    uint32_t buffer;
    uint64_t due_ps;
} mail_t;

enum {
    GPU_BLOCKS_MAX = 256
};
/* A block of the GPU's heap; bytes 0: free. */
typedef struct {
    uint32_t address, bytes, flags;
} gpu_block_t;

typedef struct board {
    struct sim *sim;
    uint32_t index;
    sim_state_t state;
    sim_board_setup_t setup;
    double drift_ppm_next; /* from the next start on */
    sim_boot_plan_t plan;

    /* processor */
    uc_engine *uc;
    coroutine_t co;
    bool kill;   /* unwind uc_emu_start; touch nothing */
    bool in_emu; /* the coroutine is inside uc_emu_start */
    uint32_t block_pc;
    uint32_t pending; /* exception to vector when uc_emu_start has returned */
    uint32_t fault_address;
    uint32_t trap_at, trap_from; /* a VFP instruction that must trap, and its block */
    uint32_t exit_at;            /* where uc_emu_start ends */
    bool fault_write;
    uint32_t last_vector_pc;
    uint64_t last_vector_ticks;
    bool vfp_allowed; /* CPACR grants cp10 and cp11 */
    bool cpacr_written;
    bool sctlr_written, mmu_on; /* kept only until VFP is allowed */
    bool vfp_suspect;

    /* memory */
    uint8_t *ram;

    /* time */
    uint64_t ticks, base_ticks, charged_ticks;
    uint64_t base_ps;
    uint64_t ps_per_tick_q32;
    uint64_t window_ticks; /* leave generated code when ticks reach this */
    uint64_t window_ps;
    uint64_t read_ticks, write_ticks;
    uint64_t write_ps; /* no board changes a pad sooner than this after a read */
    uint64_t wake_ps;  /* of a sleeper */
    uint64_t sleep_period_ticks;
    uint64_t sleep_period_charged;
    uint64_t start_ps;    /* first ARM instruction; origin of the system timer */
    uint64_t watchdog_ps; /* NEVER: off */

    /* pads */
    uint32_t fsel[6];
    uint64_t out_mask, latch, pull_up, pull_down, driven_high; /* driven_high: by something else on the pad */
    uint64_t level, unknown, level_before, unknown_before;
    uint64_t level_ps;
    uint32_t level_writer;
    uint64_t noted; /* pads that are traced or watched */
    uint32_t gppud, gppudclk[2], pud_latched;
    uint64_t gppud_ps, gppudclk_ps;
    uint32_t pads[3];

    uart_t uart;
    uint32_t arm_hz, core_hz, uart_hz;
    uint32_t timer_compare[4], timer_matched;
    uint64_t timer_checked_us;
    uint32_t pm_rstc, pm_rsts, pm_wdog;
    uint32_t armtimer_load, armtimer_ctl, armtimer_prediv;
    uint64_t armtimer_set_ps, armtimer_cleared; /* how many of its ends since then have been acknowledged */
    uint32_t irq_enabled[3], fiq_control;       /* lines 0..31, 32..63, basic */
    uint64_t irq_ticks;                         /* from here on the processor looks at its lines */
    uint64_t events, detect_rise, detect_fall, detect_high, detect_low, detect_rise_async, detect_fall_async;
    uint32_t mail_config;
    uint32_t clocks[0x2000 / 4];
    uint32_t domains[0x1000 / 4]; /* of PM, beside those with a name here */
    mail_t mail[8];
    uint32_t mail_head, mail_count;
    gpu_block_t gpu_blocks[GPU_BLOCKS_MAX];
    struct v3d *v3d; /* NULL until the QPUs were enabled */
    void (*refuse)(
        struct board *b); /* sim->error says why: the board halts, sim_run returns. cpu.c sets it */

    poll_t poll;
    sim_counters_t counters;
    sim_lint_t lints[LINTS_MAX];
    uint32_t lint_count;
    uint64_t traced;  /* pads whose level is recorded */
    uint64_t watched; /* pads whose change ends sim_run */
} board_t;

/* Levels of a net. */
enum {
    LEVEL_LOW,
    LEVEL_HIGH,
    LEVEL_UNDEFINED, /* reads as noise */
    LEVEL_CONTENTION
};
/* What hangs on a pad beside its wires. */
enum {
    TIE_LOW = 1,
    TIE_HIGH = 2,
    TIE_NOISE = 4 /* no common ground: only its own side's output gives it a level */
};

typedef struct {
    uint32_t first, count; /* in sim->pad_of_net */
    uint8_t level;
    uint8_t conflict; /* SIM_CONFLICT_ */
    bool faulty;      /* what follows is not all 0 */
    bool lined;       /* a delay line ends here */
    bool watched;     /* a clock that glitches or triggers wait for */
    uint8_t clean;    /* level without glitches */
    uint8_t inverted; /* glitches under way */
    uint8_t tie;
    uint8_t bridged;     /* TIE_LOW, TIE_HIGH: who wins when outputs meet through the bridge */
    uint32_t contention; /* index + 1 of the episode that lasts */
} net_t;

typedef struct {
    board_t *b;
    uint64_t bit;
    uint8_t board, pin;
    uint16_t segment; /* pads that wires join, bridges left out */
} pad_t;

typedef struct {
    uint16_t a, b;
    uint8_t level; /* that wins */
} bridge_t;

/* A delayed wire: far[end] is what the other end's net was one delay ago (see net_state). */
typedef struct {
    uint16_t pad[2];
    uint32_t net[2];
    uint64_t delay_ps;
    uint8_t far[2], sent[2];
    bool moot;
} line_t;

typedef struct {
    uint16_t pad, clock;
    double rate; /* pulses per rising edge of the clock */
    uint64_t width_ps;
    uint64_t random;
} glitch_t;

typedef struct {
    uint32_t board, action;
    uint64_t pins;
    uint64_t edges; /* still to come */
} trigger_t;

enum {
    EVENT_LINE,        /* subject: line << 1 | end, value: state */
    EVENT_GLITCH,      /* subject: net, value: width_ps */
    EVENT_GLITCH_OVER, /* subject: net */
    EVENT_HANG_UP,     /* subject: board */
    EVENT_STRIKE       /* subject: board, value: SIM_STRIKE_ */
};

typedef struct {
    uint64_t time_ps;
    uint64_t value;
    uint32_t kind;
    uint32_t subject;
} event_t;

/* What comes next, when no board runs. */
typedef enum {
    TURN_OVER,     /* until_ps is reached */
    TURN_EVENT,    /* sched_event_take gives it */
    TURN_PACKET,   /* the board's adapter hands a packet to the host */
    TURN_START,    /* the board executes its first instruction */
    TURN_WATCHDOG, /* the board's watchdog bites */
    TURN_RAN       /* boards have run: ask again */
} turn_t;

struct sim {
    uint32_t board_count;
    uint64_t seed;
    sim_boot_fn boot;
    board_t *boards;
    uint64_t key[SIM_BOARDS_MAX];   /* earliest time at which the board can act */
    uint64_t slack[SIM_BOARDS_MAX]; /* what follows its key before it can change a pad: it reads first */
    uint64_t due[SIM_BOARDS_MAX];   /* when the adapter hands a packet to the host */
    uint64_t event_ps;              /* the earliest of `events` */
    uint64_t due_min;               /* of `due` and event_ps */
    uint64_t now_ps, until_ps;
    uint64_t limit_ps; /* the running board may touch shared state while its time is below this */
    board_t *running;
    coroutine_t main;
    bool allow_sleep;
    int pattern_fd;

    uint16_t parent[SIM_BOARDS_MAX * SIM_PINS]; /* union-find over pads; net number once built */
    bool nets_built;
    net_t *nets;
    uint32_t net_count;
    pad_t *pad_of_net;
    uint16_t net_of[SIM_BOARDS_MAX][SIM_PINS];
    uint16_t segment[SIM_BOARDS_MAX * SIM_PINS];
    uint8_t tie[SIM_BOARDS_MAX * SIM_PINS];
    bridge_t bridges[BRIDGES_MAX];
    uint32_t bridge_count;
    line_t lines[FAULTS_MAX];
    glitch_t glitches[FAULTS_MAX];
    trigger_t triggers[FAULTS_MAX];
    uint32_t line_count, glitch_count, trigger_count;
    event_t *events; /* in order of arrival */
    uint32_t event_count, event_capacity;

    sim_contention_t *contentions;
    uint32_t contention_count, contention_capacity;
    sim_trace_t *trace;
    size_t trace_count, trace_capacity;
    bool refused; /* `error` says what a board does that is not modelled, and sim_run has not said so yet */
    bool stopped; /* a watched pad has changed, and sim_run has not said so yet */
    char error[256];
};

/* The core's files in layers: none uses what stands below it here, but for nets.c and faults.c, which are one layer.
 * tests/sim/test_core_layers.py holds them to it. */

static inline uint64_t board_now(const board_t *b)
{
    return b->base_ps +
           (uint64_t)(((unsigned __int128)(b->ticks - b->base_ticks) * b->ps_per_tick_q32) >> 32);
}

/* lint.c */
void board_lint(board_t *b, uint32_t kind, uint32_t address, uint32_t value);

/* ram.c */
int ram_pattern(struct sim *sim);
uint8_t *ram_map(struct sim *sim, uint64_t bytes);
void ram_unmap(board_t *b);

/* sched.c */
void board_set_clock(board_t *b, uint32_t arm_hz);
void sched_window(board_t *b);                 /* the window is used up: let others run */
uint64_t sched_sync(board_t *b, bool reading); /* its time, when the board may act at it (or is killed) */
void sched_sleep(board_t *b, uint64_t wake_ps, uint64_t period_ticks, uint64_t period_charged);
void sched_wake(board_t *b, uint64_t event_ps);
uint64_t sched_ticks(const board_t *b, uint64_t time_ps); /* what the board will have counted then, about */
void sched_leave(board_t *b); /* the coroutine has ended or halted; never returns */
void sched_change(board_t *b,
                  uint64_t change_ps); /* a pad of the board changes; it may not have got there yet */
void sched_due(board_t *b, uint64_t due_ps);
void sched_event(struct sim *sim, event_t event); /* no board passes its time before it has happened */
event_t sched_event_take(struct sim *sim);        /* the earliest; of equal times the one that came first */
void sched_events_clear(struct sim *sim);
void sched_watchdog(board_t *b);                   /* watchdog_ps changed */
void sched_stop(struct sim *sim, uint64_t now_ps); /* sim_run ends at this time */
turn_t sched_turn(struct sim *sim, board_t **board);

/* nets.c */
extern const uint8_t LEVEL_DRIVEN[4], LEVEL_PULLED[4]; /* by bit 0: low, bit 1: high */
/* What drives a net (bit 0: low, bit 1: high) and what pulls it (bits 2 and 3). */
uint32_t net_hands(const struct sim *sim, const net_t *net);
void net_update(struct sim *sim, uint32_t number, uint64_t now_ps, uint32_t writer);
void trace_mark(struct sim *sim, uint32_t mark, uint32_t board); /* SIM_MARK_, where a trace runs */
static inline bool pad_drives(const pad_t *pad)
{
    return pad->b->state != SIM_OFF && (pad->b->out_mask & pad->bit) != 0;
}
static inline bool pad_drives_high(const pad_t *pad) { return (pad->b->latch & pad->bit) != 0; }
void pins_update(board_t *b, uint64_t mask, uint64_t now_ps); /* what the board does to these pads changed */
void pins_power(board_t *b, uint64_t now_ps);                 /* the board's pads appeared or vanished */
uint32_t pins_levels(board_t *b, uint32_t bank, uint64_t now_ps, bool *noisy);

/* faults.c */
void faults_clear(struct sim *sim);
void faults_attach(struct sim *sim);                      /* the nets have been built */
void faults_event(struct sim *sim, const event_t *event); /* one that is about nets happens */
uint32_t net_state(struct sim *sim, uint32_t number, uint32_t without_line);
uint8_t faulty_resolve(struct sim *sim, uint32_t number, uint8_t *conflict);
uint8_t faulty_level(struct sim *sim, uint32_t number, uint8_t level, uint64_t now_ps);

/* uart.c */
void uart_reset(board_t *b);
void uart_boot(board_t *b); /* what the firmware leaves behind */
uint32_t uart_pl011_read(board_t *b, uint32_t offset, uint64_t now_ps);
void uart_pl011_write(board_t *b, uint32_t offset, uint32_t value, uint64_t now_ps);
uint32_t uart_aux_read(board_t *b, uint32_t offset, uint64_t now_ps);
void uart_aux_write(board_t *b, uint32_t offset, uint32_t value, uint64_t now_ps);
void uart_advance(board_t *b, uint64_t now_ps); /* bytes from the host up to now enter the FIFO */
uint64_t uart_next_ps(board_t *b, uint64_t now_ps);
void uart_deliver(board_t *b, uint64_t now_ps);    /* the adapter's packet reaches the host */
uint64_t uart_irq_ps(board_t *b, uint64_t now_ps); /* when an interrupt of a UART may rise next */
bool uart_pl011_line(board_t *b, uint64_t now_ps);
bool uart_mini_line(board_t *b, uint64_t now_ps);
bool uart_enabled(const board_t *b);
void uart_hang_up(board_t *b);

/* gpio.c */
void gpio_reset(board_t *b);
void gpio_apply_boot_pulls(board_t *b);
uint32_t gpio_read(board_t *b, uint32_t offset, uint64_t now_ps);
void gpio_write(board_t *b, uint32_t offset, uint32_t value, uint64_t now_ps);
static inline uint32_t gpio_function(const board_t *b, uint32_t pin)
{
    return (b->fsel[pin / 10] >> (pin % 10 * 3)) & 7u;
}

uint64_t gpio_events(const board_t *b); /* pins whose event is detected */
/* An input changes its level. */
static inline void gpio_edge(board_t *b, uint64_t bit, bool high)
{
    b->events |= bit & (high ? b->detect_rise | b->detect_rise_async : b->detect_fall | b->detect_fall_async);
    if (gpio_events(b) & bit)
        b->irq_ticks = 0;
}

/* v3d.c */
uint32_t v3d_read(board_t *b, uint32_t offset, uint64_t now_ps);
void v3d_write(board_t *b, uint32_t offset, uint32_t value, uint64_t now_ps);
void v3d_advance(board_t *b, uint64_t now_ps); /* see v3d_follow */
uint64_t v3d_next_ps(board_t *b);              /* when SRQCS or DBQITC changes, or looking again is due */
uint32_t v3d_enable(board_t *b, bool on);      /* 0, as the property's answer */
void v3d_reset(board_t *b);
static inline void v3d_follow(board_t *b, uint64_t now_ps) /* QPUs that have work run until this time */
{
    if (b->v3d != NULL)
        v3d_advance(b, now_ps);
}

/* gpu_memory.c: answers a property tag in place; the bytes of the answer, or -1 for one that is not its own */
int gpu_property(board_t *b, uint32_t tag, uint32_t values[3]);

/* mailbox.c */
uint32_t mailbox_read(board_t *b, uint32_t offset, uint64_t now_ps);
void mailbox_write(board_t *b, uint32_t offset, uint32_t value, uint64_t now_ps);
uint64_t mailbox_next_ps(const board_t *b);
bool mailbox_line(const board_t *b, uint64_t now_ps);

/* clocks.c */
void clocks_reset(board_t *b);
uint32_t clocks_read(const board_t *b, uint32_t offset);
void clocks_write(board_t *b, uint32_t offset, uint32_t value);

/* timer.c */
uint64_t board_timer_us(const board_t *b, uint64_t now_ps);
uint64_t board_timer_ps(const board_t *b, uint64_t timer_us);
uint64_t board_timer_match_ps(board_t *b, uint64_t now_ps);
uint32_t board_timer_lines(board_t *b, uint64_t now_ps);     /* matched compare registers */
bool board_armtimer_line(const board_t *b, uint64_t now_ps); /* its interrupt is on and not acknowledged */
uint64_t board_armtimer_ps(const board_t *b, uint64_t now_ps);
void system_reset(board_t *b, uint32_t cause);
uint32_t system_read(board_t *b, uint32_t offset, uint64_t now_ps);
void system_write(board_t *b, uint32_t offset, uint32_t value, uint64_t now_ps);

/* irq.c */
enum {
    IRQ_LINE = 1,
    FIQ_LINE = 2
};
void irq_reset(board_t *b);
uint32_t irq_state(board_t *b, uint64_t now_ps);   /* IRQ_LINE, FIQ_LINE */
uint64_t irq_next_ps(board_t *b, uint64_t now_ps); /* when a line may rise by itself */
void irq_schedule(board_t *b, uint64_t now_ps);    /* when the processor looks next */
void irq_touched(board_t *b);                      /* a register was accessed: look at the next block */
uint32_t irq_read(board_t *b, uint32_t offset, uint64_t now_ps);
void irq_write(board_t *b, uint32_t offset, uint32_t value);

/* poll.c */
void poll_break(board_t *b);
bool poll_note(board_t *b, uint32_t kind, uint32_t value, uint64_t now_ps); /* true: slept, read again */
void poll_resampled(board_t *b, uint32_t kind, uint32_t value);

/* mmio.c */
uint64_t mmio_read(uc_engine *uc, uint64_t offset, unsigned size, void *user);
void mmio_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *user);

/* abort.c */
uint32_t fault_address_of(board_t *b, uint32_t pc);

/* cpu.c */
int cpu_begin(board_t *b);
void cpu_end(board_t *b);

/* power.c */
void board_start(board_t *b);
void board_watchdog(board_t *b);                /* it bites */
void board_strike(board_t *b, uint32_t action); /* SIM_STRIKE_, now; on the caller's stack */

static inline uint64_t mix64(uint64_t x)
{ /* splitmix64's finaliser */
    x ^= x >> 30;
    x *= 0xBF58476D1CE4E5B9ull;
    x ^= x >> 27;
    x *= 0x94D049BB133111EBull;
    return x ^ x >> 31;
}

#endif
