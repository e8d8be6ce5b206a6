/* main_train_host.c: trains a ring on the host and prints losses and taps.
 * Usage: train TAP_CAPACITY ARENA_BYTES TRAIN_ARENA_BYTES STEPS MICROBATCHES POSITIONS PIPELINED SLOTS OPTIMIZER RATE
 *        MOMENTUM BETA1 BETA2 EPSILON DECAY CLIP TOKENS_FILE SHARD...
 * Prints "loss BITS", "tap RANK KEY CRC COUNT MIN_BITS MAX_BITS NONFINITE FLAGS", "service N", or
 * "error RANK CODE SENTENCE". */
#include <stdio.h>
#include <stdlib.h>

#include "flush.h"
#include "host_io.h"
#include "ops.h"
#include "train_ring.h"

enum {
    FIRST_SHARD = 18
};

static uint32_t number(char **argv, int at) { return (uint32_t)strtoul(argv[at], NULL, 10); }

static void read_arguments(struct train_job *job, int argc, char **argv)
{
    uint32_t size_bytes;

    job->tap_capacity = number(argv, 1);
    job->arena_bytes = number(argv, 2);
    job->train_arena_bytes = number(argv, 3);
    job->steps = number(argv, 4);
    job->microbatches = number(argv, 5);
    job->positions = number(argv, 6);
    job->pipelined = number(argv, 7);
    job->settings = (struct train_settings){
        .positions_max = job->positions,
        .slots = number(argv, 8),
        .optimizer = number(argv, 9),
        .learning_rate = strtof(argv[10], NULL),
        .momentum = strtof(argv[11], NULL),
        .beta1 = strtof(argv[12], NULL),
        .beta2 = strtof(argv[13], NULL),
        .epsilon = strtof(argv[14], NULL),
        .weight_decay = strtof(argv[15], NULL),
        .clip = strtof(argv[16], NULL),
    };
    job->tokens = load(argv[17], &size_bytes);
    for (int i = FIRST_SHARD; i < argc; i++) {
        uint32_t rank = job->world_size++;
        job->shard[rank] = load(argv[i], &job->shard_bytes[rank]);
        job->arena[rank] = malloc(job->arena_bytes);
        job->train_arena[rank] = malloc(job->train_arena_bytes);
    }
}

static void print_result(const struct train_job *job)
{
    for (uint32_t i = 0; i < job->steps * job->microbatches; i++)
        printf("loss %08x\n", float_bits(job->losses[i]));
    for (uint32_t rank = 0; rank < job->world_size; rank++)
        print_taps(rank, job->logs[rank]);
    printf("service %u\n", job->service_calls);
}

int main(int argc, char **argv)
{
    static struct train_job job;

    if (argc <= FIRST_SHARD || argc > FIRST_SHARD + TRAIN_RING_WORLD_MAX)
        return 2;
    read_arguments(&job, argc, argv);
    uint32_t dim = *(const uint32_t *)job.shard[0]; /* the header's first word */
    job.losses = malloc((size_t)job.steps * job.microbatches * sizeof(float));
    job.x = malloc((size_t)job.microbatches * job.positions * dim * sizeof(float));
    flush_subnormals();
    train_ring_run(&job);
    if (job.error != MODEL_OK) {
        const struct model_train *train = &job.trains[job.failed_rank];
        printf("error %u %d %s (needs %u bytes)\n", job.failed_rank, job.error, model_error_text(job.error),
               train->arena_needed_bytes);
        return 0;
    }
    print_result(&job);
    return 0;
}
