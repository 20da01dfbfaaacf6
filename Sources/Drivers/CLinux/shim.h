// Declarations that Swift's own Glibc module leaves out.
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

// Which module declares `struct timespec` depends on the other imports, so its members are used only in C.

static inline int64_t clinux_monotonic_nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

// Sets the timer to an absolute time of its clock, in nanoseconds.
static inline int clinux_timer_set(int timer, int64_t time) {
  struct itimerspec specification = {.it_value = {.tv_sec = time / 1000000000, .tv_nsec = time % 1000000000}};
  return timerfd_settime(timer, TFD_TIMER_ABSTIME, &specification, NULL);
}
