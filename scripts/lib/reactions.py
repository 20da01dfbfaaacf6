"""Both ends of scripts/bench reactions: the mail server, and the customers whose orders lead to mails.

reactions.py receive PORT FILE             is an SMTP server, aiosmtpd, without TLS. It appends "ORDER TIME" to FILE for each mail
                                           about an order that it accepts.
reactions.py register COMMAND_URL COUNT    registers the customers c-0, c-1, …, each with an address
reactions.py offer COMMAND_URL COUNT RATE SECONDS [FILE]
    The customers place RATE orders a second, each when it is due, however long the ones before take. Prints p50 and p99 of the
    response in milliseconds since then, and the number of orders. With FILE it waits for the mails, and prints p50, p99 and the
    longest time from when an order was due until the server accepted its mail. The first two seconds do not count.

TIME is that of the machine's monotonic clock, which all processes share.
"""

import asyncio
import json
import os
import re
import sys
import time
from urllib.parse import urlsplit

WARM_UP = 2


async def receive(port, path):
    from aiosmtpd.smtp import SMTP

    subject = re.compile(rb"^Subject: Your order (\S+)\r$", re.MULTILINE)

    class Handler:
        async def handle_DATA(self, server, session, envelope):
            if found := subject.search(envelope.content):
                print(found[1].decode(), time.monotonic(), file=file, flush=True)
            return "250 OK"

    with open(path, "w") as file:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(Handler(), hostname="localhost", loop=loop), "127.0.0.1", int(port))
        await server.serve_forever()


class Service:
    """Kept-alive connections to command-service, as many as there are requests at once."""

    def __init__(self, url):
        self.address = urlsplit(url)
        self.idle = []

    async def post(self, path, body):
        body = json.dumps(body).encode()
        reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection(self.address.hostname, self.address.port)
        writer.write(
            b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (path.encode(), len(body), body)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)[1]))
        if head.split(b" ", 2)[1] != b"201":
            sys.exit(f"POST {path}: {head.decode()}")
        self.idle.append((reader, writer))


async def register(url, count):
    service = Service(url)
    for number in range(int(count)):
        customer = {"customerId": f"c-{number}", "name": f"Customer {number}", "email": f"c-{number}@example.org"}
        await service.post("/v1/customers", customer)


async def offer(url, count, rate, seconds, path=None):
    service, run = Service(url), f"{os.getpid()}-{int(time.time())}"
    due, responses = {}, []

    async def place(order, customer, at):
        body = {"orderId": order, "customerId": customer, "lines": [{"sku": "LANTERN", "quantity": 2}]}
        await service.post("/v1/orders", body)
        responses.append((at, time.monotonic() - at))

    start = time.monotonic() + 0.1
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate) * int(seconds)):
            at = start + number / int(rate)
            await asyncio.sleep(max(0, at - time.monotonic()))
            order = f"o-{run}-{number}"
            due[order] = at
            group.create_task(place(order, f"c-{number % int(count)}", at))
    figures = percentiles([taken for at, taken in responses if at > start + WARM_UP])[:2] + [len(due)]
    if path:
        found = await accepted(path, due)
        figures += percentiles([found[order] - at for order, at in due.items() if at > start + WARM_UP])
    print(*figures)


async def accepted(path, due):
    """Returns when the mail about each order was accepted first."""
    deadline = time.monotonic() + 120
    while True:
        found = {}
        with open(path) as file:
            for order, at in (line.split() for line in file if line.endswith("\n")):
                if order in due:
                    found.setdefault(order, float(at))
        if len(found) == len(due):
            return found
        if time.monotonic() > deadline:
            sys.exit(f"{len(due) - len(found)} of {len(due)} orders led to no mail within two minutes")
        await asyncio.sleep(0.2)


def percentiles(times):
    times.sort()
    return [round(1000 * times[int(len(times) * share)], 1) for share in (0.5, 0.99)] + [round(1000 * times[-1], 1)]


asyncio.run({"receive": receive, "register": register, "offer": offer}[sys.argv[1]](*sys.argv[2:]))
