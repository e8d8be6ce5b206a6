/* reply.h: what the handlers of commands share: the request, the reply, and the ways to fill it. */
#ifndef REPLY_H
#define REPLY_H

#include "board.h"

enum {
    REPLY_BYTES_MAX = PAYLOAD_BYTES_MAX - 1,
};

struct reply {
    uint8_t *payload;
    uint32_t size;
    enum status_code status;
};

struct request {
    const uint8_t *payload;
    uint32_t size;
};

/* Makes the reply a refusal with a sentence; format: text.h. */
void refuse(struct reply *reply, enum status_code status, const char *format, ...);

/* Adds bytes to the reply. */
void give(struct reply *reply, const void *message, uint32_t size);

/* Accepts a job whose request has been checked and copied. */
void accept_job(struct board *board, enum command_code command, struct reply *reply);

/* 1 if the range lies in RAM; refuses otherwise. */
int check_ram(const struct board *board, uint32_t address, uint32_t size_bytes, struct reply *reply);

/* 1 if the board has a model; refuses otherwise. */
int check_model(const struct board *board, struct reply *reply);

#endif
