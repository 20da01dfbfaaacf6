"""append_eventsourcing.py SECONDS BATCH: saves BATCH new orders at a time with the library eventsourcing, in two processes, and
prints events a second. The library reads the connection from its own environment variables (POSTGRES_...)."""

import multiprocessing
import os
import sys
import time

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate


class Order(Aggregate):
    def __init__(self, customer_id: str, lines: list, total: int, currency: str):
        self.customer_id, self.lines, self.total, self.currency = customer_id, lines, total, currency


def new_order() -> Order:
    lines = [{"sku": sku, "name": "Lantern", "quantity": 2, "unitPrice": 339} for sku in ("SKU-1", "SKU-2")]
    return Order("c-1029384", lines, 1356, "GBP")


def write(seconds: float, batch: int, counts) -> None:
    # The tables are there: two processes that replace the same functions at once can disturb each other.
    with Application(env=dict(os.environ, CREATE_TABLE="no")) as application:
        count, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            application.save(*[new_order() for _ in range(batch)])
            count += batch
        counts.put(count)


def main() -> None:
    seconds, batch = float(sys.argv[1]), int(sys.argv[2])
    Application(env=dict(os.environ)).close()
    counts = multiprocessing.Queue()
    writers = [multiprocessing.Process(target=write, args=(seconds, batch, counts)) for _ in range(2)]
    for writer in writers:
        writer.start()
    total = sum(counts.get(timeout=seconds + 60) for _ in writers)
    for writer in writers:
        writer.join()
    print("events_per_second", int(total / seconds))


if __name__ == "__main__":
    main()
