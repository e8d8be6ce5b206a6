/* gpio.h: pin functions of GPIO 0..53; levels, pulls and drive strength of the header's pins.
 * Source: BCM2835 ARM Peripherals ch. 6; pads: "GPIO pads control" (0x2010002C).
 * Owns the GPIO block. The latch is always written before the direction. */
#ifndef GPIO_H
#define GPIO_H

#include <stdint.h>

enum gpio_function {
    GPIO_INPUT = 0,
    GPIO_OUTPUT = 1,
    GPIO_ALT0 = 4,
    GPIO_ALT5 = 2,
};

enum gpio_pull {
    GPIO_PULL_NONE = 0,
    GPIO_PULL_DOWN = 1,
    GPIO_PULL_UP = 2,
};

/* Sets the function of all pins in the mask; other pins of the same registers keep theirs. */
void gpio_function(uint64_t pin_mask, enum gpio_function function);

/* Pins 0..31 that are outputs now, by their function. */
uint32_t gpio_outputs(void);

/* Sets the pull of all pins in the mask; it cannot be read back and survives a warm reset. */
void gpio_pull(uint32_t pin_mask, enum gpio_pull pull);

/* Sets the drive strength of GPIO 0..27 to 2, 4, .. 16 mA (other values are rounded down). */
void gpio_drive_strength(uint32_t milliamperes);

/* Levels of the pads of GPIO 0..31. */
uint32_t gpio_levels(void);

/* Latch bits to 1 or 0. */
void gpio_set(uint32_t pin_mask);
void gpio_clear(uint32_t pin_mask);

#endif
