// What Glibc's own module leaves out: spawn.h declares it for GNU sources only.
#include <spawn.h>

int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int from);
