"""Measures the time from an order's acknowledgement until it is readable: p50 and p99 in milliseconds, and the number of orders.

probe-visibility.py [--token] [--pause] COMMAND_URL QUERY_URL SECONDS

With --token it measures the time from sending the order to the response of one query with the order's Consistency-Token.
With --pause it waits 50 to 150 ms before each order, so that each order is the first one after a pause.
"""

import http.client
import json
import random
import sys
import time
from urllib.parse import urlsplit

options = {argument for argument in sys.argv[1:] if argument.startswith("--")}
*urls, seconds = (argument for argument in sys.argv[1:] if argument not in options)
with_token, with_pause = "--token" in options, "--pause" in options
commands, queries = (http.client.HTTPConnection(urlsplit(url).netloc, timeout=10) for url in urls)
order = json.dumps({"lines": [{"sku": "LANTERN", "quantity": 1}]})
deadline = time.monotonic() + float(seconds)
times = []
while time.monotonic() < deadline:
    if with_pause:
        time.sleep(random.uniform(0.05, 0.15))
    sent = time.monotonic()
    commands.request("POST", "/v1/orders", order, {"Content-Type": "application/json"})
    answer = commands.getresponse()
    body = answer.read()
    if answer.status != 201:
        sys.exit(f"POST /v1/orders answered {answer.status}")
    acknowledged = time.monotonic()
    path = "/v1/orders/" + json.loads(body)["id"]
    token = {"Consistency-Token": answer.getheader("Consistency-Token"), "Prefer": "wait=30"} if with_token else {}
    while True:
        queries.request("GET", path, headers=token)
        answer = queries.getresponse()
        answer.read()
        if answer.status == 200:
            break
        if with_token:
            sys.exit(f"GET {path} with a token answered {answer.status}")
        if time.monotonic() - acknowledged > 10:
            sys.exit("an order was not readable within 10 seconds")
        time.sleep(0.001)
    times.append((time.monotonic() - (sent if with_token else acknowledged)) * 1000)
times.sort()
print(f"{times[len(times) // 2]:.1f} {times[int(len(times) * 0.99)]:.1f} {len(times)}")
