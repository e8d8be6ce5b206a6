/* port.h: the only way from the link to registers. Two implementations: the BCM2835's GPIO block and system
 * timer (here, inline, no barrier between GPIO accesses because one peripheral keeps its order), and
 * functions that a host test provides when LINK_PORT_HOST is defined. */
#ifndef PORT_H
#define PORT_H

#include <stdint.h>

#ifdef LINK_PORT_HOST

uint32_t port_level(void);            /* levels of the pads, GPIO 0..31 */
void port_set(uint32_t pin_mask);     /* latch to 1; visible where the pin is an output */
void port_clear(uint32_t pin_mask);   /* latch to 0 */
void port_outputs(uint32_t pin_mask); /* these pins drive their latch; others stay as they are */
void port_inputs(uint32_t pin_mask);  /* these pins stop driving */
uint32_t port_now_us(void);           /* wraps */

#else

#include "gpio_registers.h"
#include "timer.h"

static inline uint32_t port_level(void) { return mmio_read32(&GPIO->level[0]); }

static inline void port_set(uint32_t pin_mask) { mmio_write32(&GPIO->set[0], pin_mask); }

static inline void port_clear(uint32_t pin_mask) { mmio_write32(&GPIO->clear[0], pin_mask); }

/* Reads and writes back each function register that holds a pin of the mask: GPFSEL1 also holds the
 * UART's pins 14 and 15. function: 0 input, 1 output. */
static inline void port_function(uint32_t pin_mask, uint32_t function)
{
    for (uint32_t bank = 0; pin_mask; bank++, pin_mask >>= 10) {
        uint32_t pins = pin_mask & 0x3FF;
        uint32_t fields = 0;
        uint32_t value = 0;
        for (uint32_t shift = 0; pins; pins >>= 1, shift += 3) {
            fields |= (pins & 1) * (7u << shift);
            value |= (pins & 1) * (function << shift);
        }
        if (fields)
            mmio_write32(&GPIO->function[bank], (mmio_read32(&GPIO->function[bank]) & ~fields) | value);
    }
}

static inline void port_outputs(uint32_t pin_mask) { port_function(pin_mask, 1); }

static inline void port_inputs(uint32_t pin_mask) { port_function(pin_mask, 0); }

static inline uint32_t port_now_us(void) { return timer_now_us(); }

#endif

#endif
