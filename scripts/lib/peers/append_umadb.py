"""append_umadb.py URL SECONDS CLIENTS: appends one order at a time, on the condition that its id is new, from CLIENTS concurrent
clients, and prints events a second."""

import json
import sys
import threading
import time
import uuid

import umadb

DATA = json.dumps(
    {"customerId": "c-1029384", "lines": [{"sku": "LANTERN", "quantity": 2, "unitPrice": 339}], "total": 678}
).encode()


def append(url: str, end: float, counts: list) -> None:
    client = umadb.Client(url)
    count = 0
    while time.monotonic() < end:
        tag = f"order:{uuid.uuid4()}"
        condition = umadb.AppendCondition(umadb.Query([umadb.QueryItem(tags=[tag])]))
        client.append([umadb.Event("OrderPlaced", DATA, tags=[tag])], condition)
        count += 1
    counts.append(count)


def main() -> None:
    url, seconds, clients = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    counts: list[int] = []
    end = time.monotonic() + seconds
    threads = [threading.Thread(target=append, args=(url, end, counts)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(counts) != clients:
        sys.exit("a client failed")
    print("events_per_second", int(sum(counts) / seconds))


if __name__ == "__main__":
    main()
