// What Glibc's own module leaves out.
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

// Declared by spawn.h for GNU sources only.
int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int from);
