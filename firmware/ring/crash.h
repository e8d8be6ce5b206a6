/* crash.h: the ring image's report of an exception, the event CRASHED (exception_report of exceptions.h). */
#ifndef CRASH_H
#define CRASH_H

#include <stdint.h>

/* Tells where RAM ends, so that the report copies only what is there of the stack. */
void crash_init(uint32_t arm_memory_bytes);

#endif
