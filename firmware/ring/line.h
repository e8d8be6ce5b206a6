/* line.h: the serial line's baud, and the watchdog that lives from its being served. Protocol: docs/protocol.md, 2. */
#ifndef LINE_H
#define LINE_H

#include "board.h"

/* Called in every wait: feeds the watchdog; returns to the boot baud when the host must be using another one. */
void line_serve(struct board *board);

/* Called when no job runs: changes the baud that was asked for; ends a trial that nobody confirmed. */
void line_change(struct board *board);

#endif
