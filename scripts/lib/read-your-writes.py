"""Writes orders and reads each with its token, many times, while others write at full load.

read-your-writes.py TIMES CLIENTS COMMAND_URLS QUERY_URLS

URLs are separated by commas; each request goes to a random one. Prints how many responses were stale or errors, and how long
orders took to become readable without the token. Exits with 1 on any stale response or error except the documented 503.
"""

import collections
import concurrent.futures
import http.client
import json
import random
import sys
import threading
import time
from urllib.parse import urlsplit

times, clients = int(sys.argv[1]), int(sys.argv[2])
commands, queries = (urls.split(",") for urls in sys.argv[3:5])
local = threading.local()
counts = collections.Counter()
waits, stale = [], []
lock = threading.Lock()


def ask(urls, method, path, body=None, headers=None):
    """Sends a request over the thread's own connection, and reconnects if that was closed."""
    if not hasattr(local, "connections"):
        local.connections = {}
    url = random.choice(urls)
    for attempt in (1, 2):
        connection = local.connections.get(url)
        if connection is None:
            connection = local.connections[url] = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer, answer.read()
        except (http.client.HTTPException, ConnectionError):
            connection.close()
            del local.connections[url]
            if attempt == 2:
                raise


def once(index):
    customer = f"c-{random.randrange(10 ** 9)}"
    body = json.dumps({"customerId": customer, "lines": [{"sku": "LANTERN", "quantity": 1}]})
    answer, written = ask(commands, "POST", "/v1/orders", body, {"Content-Type": "application/json"})
    if answer.status == 503:
        return "shed"
    if answer.status != 201:
        return f"POST answered {answer.status}: {written[:200]!r}"
    order, token = json.loads(written)["id"], answer.getheader("Consistency-Token")
    acknowledged = time.monotonic()
    if index % 10 == 0:
        # Without the token: measures how long the order takes to become readable.
        while ask(queries, "GET", f"/v1/orders/{order}")[0].status != 200:
            time.sleep(0.001)
        with lock:
            stale.append(time.monotonic() - acknowledged)
        return "without"
    headers = {"Consistency-Token": token, "Prefer": "wait=30"}
    # One row, or a list, which reads several partitions.
    path = f"/v1/orders/{order}" if index % 2 else f"/v1/customers/{customer}/orders"
    answer, read = ask(queries, "GET", path, headers=headers)
    with lock:
        waits.append(time.monotonic() - acknowledged)
    if answer.status == 503:
        return "not caught up in 30 s"
    found = json.loads(read)
    if answer.status == 200 and (found.get("orderId") == order or any(item["orderId"] == order for item in found.get("items", []))):
        return "seen"
    return f"GET {path} with the token answered {answer.status}: {read[:200]!r}"


def percentile(values, share):
    values = sorted(values)
    return f"{values[min(len(values) - 1, int(len(values) * share))] * 1000:.1f}" if values else "-"


with concurrent.futures.ThreadPoolExecutor(clients) as pool:
    for outcome in pool.map(once, range(times)):
        counts[outcome] += 1
for outcome, count in counts.most_common():
    print(f"{count:8}  {outcome}")
print(f"read with the token: p50 {percentile(waits, 0.5)} ms, p99 {percentile(waits, 0.99)} ms, at most {percentile(waits, 1)} ms")
print(f"until visible without the token: p50 {percentile(stale, 0.5)} ms, p90 {percentile(stale, 0.9)} ms, p99 {percentile(stale, 0.99)} ms, at most {percentile(stale, 1)} ms")
sys.exit(0 if set(counts) <= {"seen", "without", "shed", "not caught up in 30 s"} else 1)
