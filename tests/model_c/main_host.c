/* main_host.c: runs a ring on the host and prints tokens and taps.
 * Usage: ring TAP_CAPACITY ARENA_BYTES POSITIONS TEMPERATURE TOPP SEED PROMPT(comma-separated) SHARD...
 * Prints "token N", "tap RANK KEY CRC COUNT MIN_BITS MAX_BITS NONFINITE FLAGS", "dropped RANK N", or
 * "error RANK CODE SENTENCE". */
#include <stdio.h>
#include <stdlib.h>

#include "flush.h"
#include "host_io.h"
#include "ring.h"

enum {
    PROMPT_MAX = 64
};

static uint32_t parse_prompt(char *text, uint16_t *prompt)
{
    uint32_t count = 0;
    for (char *next = text; count < PROMPT_MAX; next++) {
        prompt[count++] = (uint16_t)strtoul(next, &next, 10);
        if (*next == 0)
            break;
    }
    return count;
}

static void print_result(const struct ring_job *job)
{
    for (uint32_t i = 0; i < job->token_count; i++)
        printf("token %u\n", job->tokens[i]);
    for (uint32_t rank = 0; rank < job->world_size; rank++)
        print_taps(rank, &job->models[rank].taps);
    printf("service %u\n", job->service_calls);
}

int main(int argc, char **argv)
{
    static struct ring_job job;
    static uint16_t prompt[PROMPT_MAX];

    if (argc < 9 || argc > 8 + RING_WORLD_MAX)
        return 2;
    job.tap_capacity = (uint32_t)strtoul(argv[1], NULL, 10);
    job.positions = (uint32_t)strtoul(argv[3], NULL, 10);
    job.temperature = strtof(argv[4], NULL);
    job.topp = strtof(argv[5], NULL);
    job.seed = strtoull(argv[6], NULL, 10);
    job.prompt_count = parse_prompt(argv[7], prompt);
    job.prompt = prompt;
    job.tokens = malloc(job.positions * sizeof *job.tokens);
    for (int i = 8; i < argc; i++) {
        uint32_t rank = job.world_size++;
        job.shard[rank] = load(argv[i], &job.shard_bytes[rank]);
        job.arena_bytes[rank] = (uint32_t)strtoul(argv[2], NULL, 10);
        job.arena[rank] = malloc(job.arena_bytes[rank]);
    }
    flush_subnormals();
    ring_run(&job);
    if (job.error != MODEL_OK) {
        const struct model *model = &job.models[job.failed_rank];
        printf("error %u %d %s (needs %u bytes)\n", job.failed_rank, job.error, model_error_text(job.error),
               model->arena_needed_bytes);
        return 0;
    }
    print_result(&job);
    return 0;
}
