// spawn.h declares this function for GNU sources only, so Glibc's own module does not have it.
#include <spawn.h>

int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int from);
