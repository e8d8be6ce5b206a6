/* mailbox.h: questions to the GPU's firmware through the property channel.
 * Source: raspberrypi/firmware wiki, "Mailbox property interface". Owns the mailbox. */
#ifndef MAILBOX_H
#define MAILBOX_H

#include <stdint.h>

enum mailbox_clock {
    MAILBOX_CLOCK_UART = 2,
    MAILBOX_CLOCK_ARM = 3,
    MAILBOX_CLOCK_CORE = 4,
};

enum mailbox_error {
    MAILBOX_OK = 0,
    MAILBOX_ERROR_TIMEOUT = -1,
    MAILBOX_ERROR_REFUSED = -2,
};

/* Each: MAILBOX_OK and the answer in *value, or a negative error and *value as it was. */
int mailbox_board_revision(uint32_t *value);
int mailbox_board_serial(uint64_t *value);
int mailbox_arm_memory_bytes(uint32_t *value);
int mailbox_clock_hz(enum mailbox_clock clock, uint32_t *value);
int mailbox_temperature_mc(uint32_t *value);
int mailbox_throttled(uint32_t *value);

/* Sets the ARM clock to the highest rate that the firmware allows; the firmware leaves a Zero at 700 MHz. */
int mailbox_arm_clock_maximum(void);

#endif
