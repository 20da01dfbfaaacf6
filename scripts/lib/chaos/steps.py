"""What a shop's customers do, each when it is due."""

import heapq
import itertools
import threading
import time

from .shell import all_at_once

WORKERS = 32


class Steps:
    """Steps that become due, and threads that carry them out. A step may add further ones."""

    def __init__(self):
        self.steps, self.numbers, self.busy, self.changed = [], itertools.count(), 0, threading.Condition()

    def add(self, due, step, *arguments):
        with self.changed:
            heapq.heappush(self.steps, (due, next(self.numbers), step, arguments))
            self.changed.notify()

    def after(self, delay, step, *arguments):
        self.add(time.monotonic() + delay, step, *arguments)

    def run(self):
        """Returns once nothing is left."""
        all_at_once(lambda _: self.work(), range(WORKERS))

    def work(self):
        while due := self.next():
            try:
                due[0](*due[1])
            finally:
                with self.changed:
                    self.busy -= 1
                    self.changed.notify_all()

    def next(self):
        with self.changed:
            while self.steps or self.busy:
                delay = self.steps[0][0] - time.monotonic() if self.steps else None
                if delay is not None and delay <= 0:
                    self.busy += 1
                    return heapq.heappop(self.steps)[2:]
                self.changed.wait(delay)
        return None
