/* instruments.h: what tests and traces fasten to a link: a probe that measures or stalls the handshake, and the
 * instants of every burst. A link without them pays one comparison per poll. Host-buildable. */
#ifndef INSTRUMENTS_H
#define INSTRUMENTS_H

#include "link_state.h"

/* A burst begins: the stage, its bytes and since_us are set. Then its header is through: acknowledged if this side
 * sends, not yet if it receives. Then it is over, or broke off. For link.c; nothing is recorded unless the link's
 * on_burst is set. */
void burst_begins(struct link *link);
void burst_header(struct link *link);
void burst_ends(struct link *link, int failed);

/* For link.c: at most `accesses` steps of the machine of a link that has a probe or on_burst. */
enum handshake_step watched_step(struct link *link, uint32_t accesses);

/* For link.c: 1 while the link's probe stalls. Ends the stall when its time is over. */
int probe_stalls(struct link_probe *probe, uint32_t now_us);

#endif
