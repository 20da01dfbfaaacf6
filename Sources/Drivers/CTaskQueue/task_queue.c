// The Swift runtime calls these hooks, if they are set, instead of its thread pool. They and `swift_job_run` are exported by
// libswift_Concurrency and declared in the runtime's headers, which a toolchain does not install.
#include "CTaskQueue.h"
#include <stdint.h>

#define SWIFT_CC __attribute__((swiftcall))

typedef struct {
  void *identity;
  uintptr_t implementation;
} executor;

typedef SWIFT_CC void (*original_enqueue)(void *job);
typedef SWIFT_CC void (*enqueue_hook)(void *job, original_enqueue original);

extern enqueue_hook swift_task_enqueueGlobal_hook;
extern enqueue_hook swift_task_enqueueMainExecutor_hook;
extern SWIFT_CC void swift_job_run(void *job, executor on);

static task_queue_take taker;

static SWIFT_CC void enqueue(void *job, original_enqueue original) { taker(job); }

void task_queue_route(task_queue_take take) {
  taker = take;
  swift_task_enqueueGlobal_hook = enqueue;
  swift_task_enqueueMainExecutor_hook = enqueue;
}

void task_queue_run(void *job) {
  executor generic = {0, 0};
  swift_job_run(job, generic);
}
