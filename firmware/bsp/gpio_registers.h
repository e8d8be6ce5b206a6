/* gpio_registers.h: layout of the GPIO block. Included by gpio.c and by the link's port (link/port.h) only. */
#ifndef GPIO_REGISTERS_H
#define GPIO_REGISTERS_H

#include "mmio.h"

struct gpio_registers {
    uint32_t function[6];
    uint32_t reserved0;
    uint32_t set[2];
    uint32_t reserved1;
    uint32_t clear[2];
    uint32_t reserved2;
    uint32_t level[2];
    uint32_t reserved3[22];
    uint32_t pull;
    uint32_t pull_clock[2];
};
_Static_assert(offsetof(struct gpio_registers, set) == 0x1C, "GPSET0");
_Static_assert(offsetof(struct gpio_registers, clear) == 0x28, "GPCLR0");
_Static_assert(offsetof(struct gpio_registers, level) == 0x34, "GPLEV0");
_Static_assert(offsetof(struct gpio_registers, pull) == 0x94, "GPPUD");
_Static_assert(offsetof(struct gpio_registers, pull_clock) == 0x98, "GPPUDCLK0");

#define GPIO ((volatile struct gpio_registers *)(PERIPHERAL_BASE + 0x200000u))

#endif
