/* link_host.c: two links over simulated wires and a simulated clock, boards run in random turns.
 * Sends FRAMES frames from board 0 to board 1, with one disturbance at the n-th event, and checks that each
 * frame arrives exactly once, in order, with the right content, without contention.
 * Arguments: disturbance seed stride; n is 0, stride, 2 * stride, ... until a run ends before event n. Disturbances: none; flip (one wire reads inverted in one access of
 * handshake), stall (a board does nothing for 15 ms), cut (board 1 stops for good), reset (board 1 releases its
 * pins and stays away for 40 ms, then goes on receiving).
 * Prints a line per run: n and `done`, what is wrong, or the fault that the sender reported. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc32.h"
#include "link.h"
#include "messages.h"
#include "pattern.h"
#include "port.h"

#include "pins.h"

enum {
    FRAMES = 4,
    BUFFER = 64,
    OPEN_LIMIT_US = 200000,
    ACK_WIRE = 1 << 9,
    FIGHT_READS_MAX = 64,
};

static uint32_t clock_us;
static uint64_t events;
static uint64_t strike_at;
static const char *disturbance;
static int struck;

uint32_t port_now_us(void) { return clock_us; }

static uint32_t random_state;

static uint32_t random32(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    return random_state ^= random_state << 5;
}

static const uint32_t lengths[FRAMES] = {37, 0, 1, 64};

struct station {
    struct link link;
    _Alignas(4) uint8_t buffer[BUFFER];
    uint32_t frame;
    enum link_status status;
    uint32_t away_until_us;
    int away, gone;
};

static struct station stations[2];

static int bad(const char *what)
{
    printf("%s (frame %u of the sender, %u of the receiver)\n", what, stations[0].frame, stations[1].frame);
    return 1;
}

/* The pattern of a frame; frames are independent of each other. */
static struct pattern pattern_of(uint32_t frame)
{
    struct pattern pattern;
    pattern_start(&pattern, PATTERN_XORSHIFT, 7);
    pattern_frame(&pattern, frame);
    return pattern;
}

static uint32_t wrong_bits(const uint8_t *from, uint32_t frame)
{
    struct pattern pattern = pattern_of(frame);
    struct pattern_check check;
    pattern_check_start(&check);
    return pattern_check(&pattern, &check, from, lengths[frame]);
}

static void start(struct station *station, int sends)
{
    uint32_t frame = station->frame;
    if (sends) {
        struct pattern pattern = pattern_of(frame);
        pattern_fill(&pattern, station->buffer, lengths[frame]);
        link_send_start(&station->link, LINK_PATTERN, station->buffer, lengths[frame], OPEN_LIMIT_US);
    } else {
        memset(station->buffer, 0xEE, BUFFER);
        link_receive_start(&station->link, station->buffer, BUFFER, OPEN_LIMIT_US);
    }
    station->status = LINK_PENDING;
}

static void strike(struct station *station, int board)
{
    if (events++ != strike_at || struck)
        return;
    struck = 1;
    if (!strcmp(disturbance, "flip"))
        pins_flip = 1u << random32() % 10;
    else if (!strcmp(disturbance, "stall")) {
        station->away = 1;
        station->away_until_us = clock_us + 15000;
    } else if (!strcmp(disturbance, "cut"))
        stations[1].gone = 1;
    else if (!strcmp(disturbance, "reset")) {
        pins_board = 1;
        stations[1].frame += stations[1].link.have_frame; /* delivered: only its answer is lost */
        link_abort(&stations[1].link);
        stations[1].away = 1;
        stations[1].away_until_us = clock_us + 40000;
        stations[1].status = LINK_OK; /* start the receive anew; nothing was delivered */
        pins_board = board;
    }
}

/* One poll of one board: 0 while all is well, -1 for a link fault, 1 when something is wrong. */
static int turn(int board)
{
    struct station *station = &stations[board];
    if (station->gone || (board == 0 && station->frame == FRAMES))
        return 0;
    if (station->away) {
        if ((int32_t)(clock_us - station->away_until_us) < 0)
            return 0;
        station->away = 0;
        if (station->status == LINK_OK)
            start(station, board == 0);
    }
    pins_board = board;
    strike(station, board);
    if (station->gone || station->away)
        return 0;
    station->status = link_poll(&station->link);
    if (station->status == LINK_PENDING)
        return 0;
    if (station->status != LINK_OK)
        return -1;
    if (board == 1) {
        if (station->frame == FRAMES)
            return bad("a frame came twice");
        if (station->link.received_length != lengths[station->frame] ||
            wrong_bits(station->buffer, station->frame))
            return bad("wrong content");
    }
    if (++station->frame < FRAMES ||
        board == 1) /* the receiver stays: its last answer may have to be repeated */
        start(station, board == 0);
    return 0;
}

/* A glitch on ACK or CLK can put the receiver a byte behind. It then holds ACK low, waiting for that byte, when
 * the sender has finished and grants: a low line is no proof there, and the grant meets it until the granting side
 * reads its own ACK low. docs/firmware.md tells; nothing but ACK and nothing but a glitch may do it, and not for
 * more reads than FIGHT_READS_MAX of both sides, each time. */
static int contention(void)
{
    if (!strcmp(disturbance, "flip"))
        pins.contention &= ~ACK_WIRE;
    return pins.contention != 0 || pins.fought > FIGHT_READS_MAX;
}

static void run(void)
{
    uint64_t turns = 0;
    while (stations[0].frame < FRAMES || (stations[1].frame < FRAMES && !stations[1].gone)) {
        int board = (int)(random32() & 1);
        int result = turn(board);
        if (result > 0)
            return;
        if (result < 0) {
            const struct msg_link_fault *fault = &stations[board].link.fault;
            printf("fault board %d role %u phase %u byte %u of %u waited %u\n", board, fault->role,
                   fault->phase, fault->byte_index, fault->burst_bytes, fault->waited_us);
            if (pins.driven[board])
                bad("pins still driven after a fault");
            return;
        }
        if (contention()) {
            bad("contention");
            return;
        }
        if (turns++ % 8 == 0)
            clock_us++;
        if (turns > 60000000) {
            bad("no end");
            return;
        }
    }
    if (stations[0].link.counts.frames_sent != FRAMES ||
        (stations[1].link.counts.frames_received != FRAMES && !stations[1].gone))
        bad("counters are wrong");
    else
        puts("done");
}

/* One run from power-on. */
static void begin(uint32_t seed, uint64_t event)
{
    memset(stations, 0, sizeof stations);
    memset(&pins, 0, sizeof pins);
    pins_flip = 0;
    struck = 0;
    events = 0;
    strike_at = event;
    random_state = seed * 2654435761u | 1;
    clock_us = 0xFFFFF000u; /* wraps during the run */
    for (int board = 0; board < 2; board++) {
        pins_board = board;
        link_init(&stations[board].link, &pins_bank[board], (uint8_t)board);
        stations[board].link.accesses_per_poll = 1 + random32() % 8;
        start(&stations[board], board == 0);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 3;
    disturbance = argv[1];
    uint32_t stride = (uint32_t)strtoul(argv[3], 0, 0);
    crc32_init();
    for (uint64_t event = 0; stride; event += stride) {
        begin((uint32_t)strtoul(argv[2], 0, 0), event);
        printf("%llu ", (unsigned long long)event);
        run();
        if (!struck)
            break;
    }
    return 0;
}
