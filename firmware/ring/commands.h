/* commands.h: executes the commands of docs/protocol.md, section 2. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "board.h"
#include "console.h"

/* Executes one command and sends its response. */
void command_execute(struct board *board, const struct console_command *command);

#endif
