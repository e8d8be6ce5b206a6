/* qpu.h: the VideoCore IV's quad processors and what they share, as the files of the model see them.
 *
 * Source: VideoCore IV 3D Architecture Reference Guide, VideoCoreIV-AG100-R ("the guide"). docs/videocore.md says
 * what is modelled and where other facts come from. Lanes are held in quads, as in the silicon. */
#ifndef SIM_QPU_H
#define SIM_QPU_H

#include "internal.h"

enum {
    QPUS = 12,
    LANES = 16,
    QUADS = 4,
    VPM_ROWS = 64,
    TMU_DEPTH = 8,
    SEMAPHORES = 16,
    REQUESTS_MAX = 16,
    COUNTERS = 16,
    CACHED_INSTRUCTIONS = 1024,
    INSTRUCTION_BYTES = 8,
    BRANCH_SLOTS = 3,
    END_INSTRUCTIONS = 3 /* the one that ends a program and its two delay slots */
};

typedef uint32_t four_t __attribute__((vector_size(16)));
typedef int32_t four_int_t __attribute__((vector_size(16)));
typedef float four_float_t __attribute__((vector_size(16)));

typedef union {
    uint32_t e[LANES];
    four_t q[QUADS];
    four_int_t i[QUADS];
    four_float_t f[QUADS];
} lanes_t;

/* Register addresses of the guide's table 14. */
enum {
    AT_UNIFORM = 32,
    AT_VARYING = 35,
    AT_NUMBER = 38,
    AT_NOP = 39,
    AT_VPM = 48,
    AT_DMA_BUSY = 49,
    AT_DMA_WAIT = 50,
    AT_MUTEX = 51,
    TO_ACC0 = 32,
    TO_ACC3 = 35,
    TO_TMU_NOSWAP = 36,
    TO_ACC5 = 37,
    TO_HOST_INTERRUPT = 38,
    TO_NOP = 39,
    TO_UNIFORM_ADDRESS = 40,
    TO_VPM = 48,
    TO_SETUP = 49,
    TO_DMA_ADDRESS = 50,
    TO_MUTEX = 51,
    TO_SFU_RECIP = 52,
    TO_SFU_LOG = 55,
    TO_TMU0_S = 56,
    TO_TMU1_S = 60,
    TO_TMU1_B = 63
};

enum {
    SIG_BREAKPOINT,
    SIG_NONE,
    SIG_THREAD_SWITCH,
    SIG_END,
    SIG_SCOREBOARD_WAIT,
    SIG_SCOREBOARD_UNLOCK,
    SIG_LAST_THREAD_SWITCH,
    SIG_LOAD_COVERAGE,
    SIG_LOAD_COLOR,
    SIG_LOAD_COLOR_END,
    SIG_LOAD_TMU0,
    SIG_LOAD_TMU1,
    SIG_LOAD_ALPHA,
    SIG_SMALL_IMMEDIATE,
    SIG_LOAD_IMMEDIATE,
    SIG_BRANCH
};

enum {
    COND_NEVER,
    COND_ALWAYS,
    COND_ZS,
    COND_ZC,
    COND_NS,
    COND_NC,
    COND_CS,
    COND_CC
};

enum {
    ADD_NOP,
    ADD_FADD,
    ADD_FSUB,
    ADD_FMIN,
    ADD_FMAX,
    ADD_FMINABS,
    ADD_FMAXABS,
    ADD_FTOI,
    ADD_ITOF,
    ADD_ADD = 12,
    ADD_SUB,
    ADD_SHR,
    ADD_ASR,
    ADD_ROR,
    ADD_SHL,
    ADD_MIN,
    ADD_MAX,
    ADD_AND,
    ADD_OR,
    ADD_XOR,
    ADD_NOT,
    ADD_CLZ,
    ADD_V8ADDS = 30,
    ADD_V8SUBS
};

enum {
    MUL_NOP,
    MUL_FMUL,
    MUL_MUL24,
    MUL_V8MULD,
    MUL_V8MIN,
    MUL_V8MAX,
    MUL_V8ADDS,
    MUL_V8SUBS
};

enum {
    MUX_R4 = 4,
    MUX_A = 6,
    MUX_B = 7
};

enum {
    KIND_ALU,
    KIND_LOAD,
    KIND_SEMAPHORE,
    KIND_BRANCH
};

/* A decoded instruction. */
typedef struct {
    uint64_t word;
    uint32_t address;
    const char *refusal; /* NULL, or what about it is not modelled or against the guide's rules */
    uint8_t kind, sig;
    uint8_t op_add, op_mul, cond_add, cond_mul;
    uint8_t add_a, add_b, mul_a, mul_b;
    uint8_t read_a, read_b;   /* addresses; AT_NOP: none */
    uint8_t to_add, to_mul;   /* addresses; TO_NOP: none */
    uint8_t unpack, pack, pm; /* 0: none */
    uint8_t rotate;           /* 0: none, 1..15, 16: by r5 */
    bool set_flags, swap;     /* swap: add writes to file B, mul to file A */
    bool uses_a, uses_b, uses_r4, immediate, unpack_float, io, flags_from_mul, idle;
    bool rotate_quads; /* within quads only: operands that are not r0 to r3 */
    bool twice;        /* both pipes write one accumulator in one lane */
    uint8_t cond_branch;
    bool relative, by_register;
    uint32_t value;
    lanes_t literal; /* small immediate, or what a load immediate loads */
} instruction_t;

/* One block of vectors that a QPU reads or writes in the VPM. */
typedef struct {
    uint32_t address, stride, size, left;
    bool horizontal, laned;
} vpm_block_t;

/* A transfer between VPM and memory. */
typedef struct {
    bool busy;
    uint64_t due_slot;
    uint32_t setup, pitch; /* as they were when it started */
    uint32_t memory;
} dma_t;

typedef struct {
    lanes_t data[TMU_DEPTH];
    uint32_t head, count;
} tmu_fifo_t;

typedef struct qpu {
    lanes_t acc[6];
    lanes_t file_a[32], file_b[32];
    lanes_t before_a, before_b; /* what the register that the last instruction wrote held before */
    lanes_t zero, negative, carry;
    lanes_t sfu;
    tmu_fifo_t tmu[2];
    vpm_block_t vpm_write, vpm_read[2];
    uint32_t vpm_reads, vpm_wait; /* queued setups; instructions until the data of the first is there */
    uint32_t load_setup, load_pitch, store_setup, store_stride;
    dma_t load, store;
    uint32_t number;
    uint32_t pc;
    uint32_t branch_to, branch_slots; /* slots left before the jump */
    uint32_t end_slots;               /* instructions left, when the program is ending */
    uint32_t uniform, uniforms_left, uniform_wait;
    uint32_t sfu_wait;
    uint8_t last_a, last_b; /* registers that the last instruction wrote; 0xFF: none */
    uint8_t last_acc;       /* bit n: the last instruction wrote rn */
    bool running;
    uint64_t instructions;
} qpu_t;

typedef struct {
    uint32_t code, uniforms, length;
} request_t;

typedef struct {
    uint32_t source;
    uint32_t value;
    uint64_t start; /* the source's count when the counter was last enabled, written or cleared */
} counter_t;

/* What the ARM sees change while QPUs run. */
typedef struct {
    uint32_t made, done, queued, interrupts;
    bool overflow;
} v3d_status_t;

typedef struct v3d {
    qpu_t qpu[QPUS];
    instruction_t cache[CACHED_INSTRUCTIONS];
    uint32_t vpm[VPM_ROWS][LANES];
    board_t *board;
    uint8_t semaphore[SEMAPHORES];
    int mutex; /* its owner, or -1 */
    bool enabled;

    /* time: slot n begins at base_ps + n * slot_ps */
    uint64_t base_ps, slot, slot_ps_q16;
    bool busy;  /* a program runs, or a transfer is under way */
    bool stuck; /* all that run wait for each other */
    bool changed;
    bool event; /* the status as it is now holds from event_ps on */
    uint64_t event_ps;
    v3d_status_t status, shown;

    request_t queue[REQUESTS_MAX];
    uint32_t queue_head;
    uint32_t srqua, srqul, sqrsv[2], sqcntl, vpacntl, vpm_reserved, scratch, interrupt_enables;
    bool length_set, l2_enabled;
    counter_t counter[COUNTERS];
    uint32_t counters_on;
    uint64_t busy_cycles, instruction_cycles, tmu_quads;
    uint64_t start_ps;
} v3d_t;

/* qpu_alu.c */
void qpu_add(uint32_t op, lanes_t *out, const lanes_t *a, const lanes_t *b);
void qpu_mul(uint32_t op, lanes_t *out, const lanes_t *a, const lanes_t *b);
void qpu_add_carry(uint32_t op, lanes_t *carry, const lanes_t *a, const lanes_t *b, const lanes_t *out);
void qpu_mul_carry(uint32_t op, lanes_t *carry, const lanes_t *a, const lanes_t *b);
/* Lanes in which a signed sum or difference leaves 32 bits, as a mask. */
uint32_t qpu_overflow(uint32_t op, const lanes_t *a, const lanes_t *b, const lanes_t *out);
void qpu_saturate(uint32_t overflow, lanes_t *out, const lanes_t *a);
void qpu_unpack(uint32_t mode, bool is_float, lanes_t *out, const lanes_t *in);
/* Packs `value` into the part of `into` that the mode names; the rest of `into` stays. */
void qpu_pack(uint32_t mode, bool is_float, lanes_t *into, const lanes_t *value);
/* NULL, or why a value has no 8-bit color. */
const char *qpu_pack_color(uint32_t mode, lanes_t *into, const lanes_t *value);
static inline bool add_takes_float(uint32_t op) { return op >= ADD_FADD && op <= ADD_FTOI; }
static inline bool add_gives_float(uint32_t op)
{
    return (op >= ADD_FADD && op <= ADD_FMAXABS) || op == ADD_ITOF;
}

/* qpu_sfu.c: NULL, or why a value has no result. */
const char *qpu_sfu(uint32_t address, lanes_t *out, const lanes_t *in);

/* qpu_decode.c */
void qpu_decode(instruction_t *ins, uint32_t address, uint64_t word);

/* qpu.c */
enum {
    STEP_DONE,
    STEP_STALLED,
    STEP_REFUSED
};
int qpu_step(v3d_t *v, qpu_t *q);
void qpu_start(qpu_t *q, const request_t *request);
int qpu_refuse(v3d_t *v, const qpu_t *q, const char *format, ...) __attribute__((format(printf, 3, 4)));

static inline void qpu_find(v3d_t *v, const qpu_t *q, uint32_t lint, uint32_t value)
{
    board_lint(v->board, lint, q->pc, value);
}

/* qpu_rules.c */
bool qpu_must_wait(const v3d_t *v, const qpu_t *q, const instruction_t *ins);
const char *qpu_broken_rule(const qpu_t *q, const instruction_t *ins); /* NULL when all are kept */

/* qpu_io.c: NULL, or what is not modelled about the access. */
/* `again`: file B reads the address that A has read; a uniform or a VPM vector is then one for both, in out_a. */
const char *qpu_read_io(v3d_t *v, qpu_t *q, uint32_t address, bool side_a, bool again, lanes_t *out,
                        const lanes_t *out_a);
const char *qpu_write_io(v3d_t *v, qpu_t *q, uint32_t address, bool side_a, const lanes_t *value);
/* A signal's load arrives in r4 after the operands of its instruction were read. */
const char *qpu_load_r4(qpu_t *q, const instruction_t *ins);

/* vpm.c */
void vpm_setup_write(qpu_t *q, uint32_t value);
/* false: two read setups are queued already, so this one is ignored */
bool vpm_setup_read(qpu_t *q, uint32_t value);
void vpm_write(v3d_t *v, qpu_t *q, const lanes_t *value);
void vpm_read(v3d_t *v, qpu_t *q, lanes_t *out);
/* NULL, or what about the transfer is not modelled. */
const char *vpm_start_load(v3d_t *v, qpu_t *q, uint32_t memory);
const char *vpm_start_store(v3d_t *v, qpu_t *q, uint32_t memory);
void vpm_finish_load(v3d_t *v, qpu_t *q);
void vpm_finish_store(v3d_t *v, qpu_t *q);

/* v3d_counters.c; n: the counter's number, offset: from PCTR0 */
uint32_t v3d_counter_value(const v3d_t *v, uint32_t n, uint64_t now_ps);
void v3d_counter_set(v3d_t *v, uint32_t n, uint32_t value, uint64_t now_ps);
void v3d_counters_enable(v3d_t *v, uint32_t mask, uint64_t now_ps);
void v3d_counter_write(v3d_t *v, uint32_t offset, uint32_t value, uint64_t now_ps);

/* v3d.c */
/* RAM at a bus address, all of its aliases; NULL outside of RAM. */
uint8_t *v3d_memory(const v3d_t *v, uint32_t address, uint32_t bytes);

#endif
