#pragma once

/// Takes a task that is ready to run.
typedef void (*task_queue_take)(void *job);

/// Sends every task of this process that becomes ready to `take`, instead of to the thread pool. It cannot be undone.
void task_queue_route(task_queue_take take);

/// Runs a task until it waits or ends.
void task_queue_run(void *job);
