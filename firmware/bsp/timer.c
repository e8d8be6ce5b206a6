/* timer.c: the free-running 1 MHz system timer. Contract: timer.h. Owns the system timer's counter
 * and compare registers 1 and 3. */
#include "timer.h"

#include "mmio.h"

struct timer_registers {
    uint32_t cs, clo, chi, compare[4];
};
_Static_assert(offsetof(struct timer_registers, clo) == 0x04, "CLO");
_Static_assert(offsetof(struct timer_registers, compare) == 0x0C, "C0");

enum {
    DEADLINE = 1,
    BEAT = 3
}; /* the compare registers in use */

#define TIMER ((volatile struct timer_registers *)(PERIPHERAL_BASE + 0x3000u))

uint32_t timer_now_us(void)
{
    mmio_barrier();
    uint32_t now = mmio_read32(&TIMER->clo);
    mmio_barrier();
    return now;
}

uint64_t timer_now64_us(void)
{
    mmio_barrier();
    uint32_t high = mmio_read32(&TIMER->chi);
    uint32_t low = mmio_read32(&TIMER->clo);
    uint32_t again = mmio_read32(&TIMER->chi);
    if (again != high)
        low = mmio_read32(&TIMER->clo); /* the low word wrapped between the reads */
    mmio_barrier();
    return ((uint64_t)again << 32) | low;
}

static void set_match(uint32_t index, uint32_t us)
{
    mmio_barrier();
    mmio_write32(&TIMER->compare[index], mmio_read32(&TIMER->clo) + us);
    mmio_write32(&TIMER->cs, 1u << index);
    mmio_barrier();
}

static int has_matched(uint32_t index)
{
    mmio_barrier();
    uint32_t status = mmio_read32(&TIMER->cs);
    mmio_barrier();
    return (status >> index & 1u) != 0;
}

void timer_deadline_set(uint32_t us) { set_match(DEADLINE, us); }

int timer_deadline_passed(void) { return has_matched(DEADLINE); }

void timer_beat_set(uint32_t us) { set_match(BEAT, us); }

int timer_beat_passed(void) { return has_matched(BEAT); }
