/* gpio.c: pin functions, levels, pulls and drive strength. Contract: gpio.h. Owns the GPIO block.
 * GPFSEL1 holds pins 10..19: the UART's 14 and 15 between both banks of the ring. Registers are therefore
 * read, changed in the fields of the mask, and written back; there are no interrupts that could come between. */
#include "gpio.h"

#include "gpio_registers.h"

#define PADS_0_27            ((volatile uint32_t *)(PERIPHERAL_BASE + 0x10002Cu))
#define PADS_PASSWORD        0x5A000000u
#define PADS_SLEW_HYSTERESIS 0x18u

enum {
    PULL_SETUP_LOOPS = 300
}; /* the manual asks for 150 cycles; a loop is at least one */

void gpio_function(uint64_t pin_mask, enum gpio_function function)
{
    mmio_barrier();
    for (uint32_t bank = 0; bank < 6; bank++) {
        uint32_t fields = 0;
        uint32_t value = 0;
        for (uint32_t slot = 0; slot < 10; slot++) {
            if (pin_mask >> (bank * 10 + slot) & 1) {
                fields |= 7u << (slot * 3);
                value |= (uint32_t)function << (slot * 3);
            }
        }
        if (fields) {
            uint32_t old = mmio_read32(&GPIO->function[bank]);
            mmio_write32(&GPIO->function[bank], (old & ~fields) | value);
        }
    }
    mmio_barrier();
}

uint32_t gpio_outputs(void)
{
    uint32_t outputs = 0;
    mmio_barrier();
    for (uint32_t bank = 0; bank < 4; bank++) {
        uint32_t functions = mmio_read32(&GPIO->function[bank]);
        for (uint32_t slot = 0; slot < 10 && bank * 10 + slot < 32; slot++)
            if ((functions >> (slot * 3) & 7) == GPIO_OUTPUT)
                outputs |= 1u << (bank * 10 + slot);
    }
    mmio_barrier();
    return outputs;
}

static void wait_pull_setup(void)
{
    for (volatile uint32_t i = 0; i < PULL_SETUP_LOOPS; i++) {
    }
}

void gpio_pull(uint32_t pin_mask, enum gpio_pull pull)
{
    mmio_barrier();
    mmio_write32(&GPIO->pull, (uint32_t)pull);
    wait_pull_setup();
    mmio_write32(&GPIO->pull_clock[0], pin_mask);
    wait_pull_setup();
    mmio_write32(&GPIO->pull, 0);
    mmio_write32(&GPIO->pull_clock[0], 0);
    mmio_barrier();
}

void gpio_drive_strength(uint32_t milliamperes)
{
    uint32_t code = milliamperes < 2 ? 0 : milliamperes > 16 ? 7 : milliamperes / 2 - 1;
    mmio_barrier();
    mmio_write32(PADS_0_27, PADS_PASSWORD | PADS_SLEW_HYSTERESIS | code);
    mmio_barrier();
}

uint32_t gpio_levels(void)
{
    mmio_barrier();
    uint32_t levels = mmio_read32(&GPIO->level[0]);
    mmio_barrier();
    return levels;
}

void gpio_set(uint32_t pin_mask)
{
    mmio_barrier();
    mmio_write32(&GPIO->set[0], pin_mask);
    mmio_barrier();
}

void gpio_clear(uint32_t pin_mask)
{
    mmio_barrier();
    mmio_write32(&GPIO->clear[0], pin_mask);
    mmio_barrier();
}
