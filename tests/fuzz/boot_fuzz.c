/* boot_fuzz.c: the bootloader (firmware/boot/main.c), its UART, timer and mailbox played here.
 * Input: steps, a byte each, that make the bytes of the line: as they come; a word of the protocol; an offer; an upload
 * whose CRC is right or not; silence. The image's place in memory is a mapping with nothing around it (the build gives
 * LOAD_ADDRESS and BOOTLOADER_ADDRESS that a host has, a page apart), so a byte beyond is a crash. */
#include <setjmp.h>
#include <sys/mman.h>

#define main boot_main
#include "../boot/main.c"
#undef main

#include "fuzz_input.h"

enum {
    LINE_MAX_BYTES = 1 << 16,
    SILENCE = 0x100,
    QUIET_ROUNDS_MAX = 8, /* announcements after the last byte, then the input is over */
};

static uint16_t line[LINE_MAX_BYTES]; /* bytes, and SILENCE until a deadline has passed */
static uint32_t line_from, line_to, quiet_rounds;
static jmp_buf over;

int uart_read(void)
{
    if (line_from == line_to || line[line_from] == SILENCE)
        return UART_RX_EMPTY;
    return line[line_from++];
}

void uart_write(uint8_t byte) { (void)byte; }
void uart_flush(void) {}
uint32_t uart_overruns(void) { return line_to & 1; }
uint32_t uart_init(uint32_t clock_hz, uint32_t baud) { return clock_hz > baud ? baud : clock_hz; }
void timer_deadline_set(uint32_t us) { (void)us; }

int timer_deadline_passed(void)
{
    if (line_from < line_to && line[line_from] != SILENCE)
        return 0;
    if (line_from < line_to)
        line_from++;
    else if (++quiet_rounds > QUIET_ROUNDS_MAX)
        longjmp(over, 1);
    return 1;
}

int mailbox_board_serial(uint64_t *value)
{
    *value = 0x123456789ABCDEFull;
    return MAILBOX_OK;
}

int mailbox_clock_hz(enum mailbox_clock clock, uint32_t *value)
{
    (void)clock;
    (void)value;
    return MAILBOX_OK;
}

uint32_t power_reset_status(void) { return 0x1000; }
void cache_publish_code(void) {}

static void put(uint16_t byte)
{
    if (line_to < LINE_MAX_BYTES)
        line[line_to++] = byte;
}

static void put_word(uint32_t word)
{
    for (int i = 0; i < 4; i++)
        put(word >> i * 8 & 0xFF);
}

static void put_upload(struct input *input, uint8_t shape)
{
    static uint8_t image[BOOTLOADER_ADDRESS - LOAD_ADDRESS];
    uint32_t size = input_word(input) % (sizeof image + 1);
    input_bytes(input, image, size);
    put_word(PUT_PROG_INFO);
    put_word(LOAD_ADDRESS);
    put_word(shape & 0x10 ? input_word(input) : size);
    put_word(crc32_update(CRC32_START, image, size) ^ (shape >> 5 & 1));
    if (!(shape & 0x40))
        put_word(PUT_CODE);
    for (uint32_t i = 0; i < size; i++)
        put(image[i]);
}

static void make_line(struct input *input)
{
    static const uint32_t words[] = {GET_PROG_INFO,
                                     PUT_PROG_INFO,
                                     GET_CODE,
                                     PUT_CODE,
                                     LOAD_ADDRESS,
                                     BOOTLOADER_ADDRESS,
                                     BOOTLOADER_ADDRESS - LOAD_ADDRESS,
                                     PRINT_STRING};
    while (input->left) {
        uint8_t shape = input_byte(input);
        switch (shape & 7) {
        case 0:
        case 1:
            put(input_byte(input));
            break;
        case 2:
            put_word(words[shape >> 3 & 7]);
            break;
        case 3:
            put_word(input_word(input));
            break;
        case 4:
            put_upload(input, shape);
            break;
        case 5: /* the largest image, or one byte more, or one that begins elsewhere */
            put_word(PUT_PROG_INFO);
            put_word(LOAD_ADDRESS + (shape >> 4 & 3));
            put_word(BOOTLOADER_ADDRESS - LOAD_ADDRESS + (shape >> 3 & 1));
            put_word(input_word(input));
            put_word(PUT_CODE);
            for (uint32_t i = 0; i < BOOTLOADER_ADDRESS - LOAD_ADDRESS + 2; i++)
                put(shape);
            break;
        case 6:
            put(SILENCE);
            break;
        default:
            put_word(PUT_CODE);
            break;
        }
    }
}

static void map_image_place(void)
{
    static int mapped;
    if (mapped)
        return;
    void *place = mmap((void *)(uintptr_t)LOAD_ADDRESS, BOOTLOADER_ADDRESS - LOAD_ADDRESS,
                       PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(place == (void *)(uintptr_t)LOAD_ADDRESS);
    mapped = 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct input input;
    static struct offer offer;
    input = (struct input){data, size};
    map_image_place();
    crc32_init();
    line_from = line_to = quiet_rounds = 0;
    make_line(&input);
    compose_greeting();
    if (setjmp(over))
        return 0;
    if (data && size && data[0] == 0xFF)
        exception_report(&(struct exception_frame){.kind = data[0]}, input_word(&input), 0);
    while (!load(&offer)) {
    }
    CHECK(offer_fits(&offer));
    CHECK(crc32_update(CRC32_START, (void *)(uintptr_t)LOAD_ADDRESS, offer.size_bytes) == offer.crc32);
    return 0;
}
