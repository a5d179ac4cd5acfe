#ifndef FASTWEIGHTS_THREADS_H
#define FASTWEIGHTS_THREADS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C"
#endif
/* Calls run(context, task, thread) once for each task, on at most `threads` threads; which thread has which task changes
 * from call to call, so a task's result must not depend on it. */
void fw_parallel(int64_t tasks, int64_t threads, void (*run)(void*, int64_t, int64_t), void* context);

#endif
