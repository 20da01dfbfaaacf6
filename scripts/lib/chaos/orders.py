"""Clients that place orders, each until it is acknowledged, and a reader of their orders."""

import collections
import itertools
import random
import threading
import time

from .shell import Background, Failure

# How long an order or a query may take, in seconds.
PATIENCE = 120
PRICES = {"LANTERN": 339, "BOTTLE": 799}
Acknowledged = collections.namedtuple("Acknowledged", "id customer total")


class Orders:
    """Places orders at a fixed rate, in turn by each client, and knows every response."""

    def __init__(self, system, seed, clients, rate, count=None):
        self.system, self.seed, self.clients, self.rate, self.count = system, seed, clients, rate, count
        self.lock, self.over, self.threads = threading.Lock(), threading.Event(), []
        self.acknowledged, self.unexpected, self.repeats = [], [], 0

    def register(self):
        for sku, price in PRICES.items():
            body = {"sku": sku, "name": sku, "unitPrice": price, "tracksStock": False}
            answer = self.system.commands.send("POST", "/v1/products", body, sku)
            if not answer or answer[0] != 201:
                raise Failure(f"registering {sku} answered {answer}")

    def start(self):
        """The clients start. They end after the last order, or, without a count, at finish()."""
        self.begin = time.monotonic()
        self.threads = [Background(self.place_all, client) for client in range(self.clients)]

    def finish(self):
        """Returns how many seconds all of it took."""
        if self.count is None:
            self.over.set()
        for thread in self.threads:
            thread.finish()
        return max(thread.ended for thread in self.threads) - self.begin

    def place_all(self, client):
        numbers = itertools.count(client, self.clients) if self.count is None else range(client, self.count, self.clients)
        for number in numbers:
            if self.over.wait(max(0, self.begin + number / self.rate - time.monotonic())):
                return
            self.place(number, f"customer-{client}")

    def place(self, number, customer):
        order, quantity = f"chaos-{number}", random.Random(f"{self.seed}/chaos-{number}").randint(1, 7)
        body = {"orderId": order, "customerId": customer, "lines": [
            {"sku": "LANTERN", "quantity": quantity}, {"sku": "BOTTLE", "quantity": 1}]}
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            answer = self.system.commands.send("POST", "/v1/orders", body, order)
            if answer and answer[0] == 201:
                total = quantity * PRICES["LANTERN"] + PRICES["BOTTLE"]
                return self.note(self.acknowledged, Acknowledged(order, customer, total))
            if answer and answer[0] not in (503, 504):
                return self.note(self.unexpected, f"{order}: {answer}")
            with self.lock:
                self.repeats += 1
            time.sleep(0.1)
        self.note(self.unexpected, f"{order}: not acknowledged in {PATIENCE} s")

    def note(self, where, what):
        with self.lock:
            where.append(what)


class Reader:
    """Reads acknowledged orders, the newest first, until it is stopped. Repeats each query until it is answered."""

    def __init__(self, system, acknowledged):
        """acknowledged returns the orders so far."""
        self.system, self.acknowledged = system, acknowledged
        self.reads, self.repeats, self.unexpected = 0, 0, []
        self.over = threading.Event()
        self.thread = Background(self.run)

    def finish(self):
        self.over.set()
        self.thread.finish()

    def run(self):
        while not self.over.wait(0.02):
            # The newest of each customer among the last ones.
            for order in {order.customer: order for order in self.acknowledged()[-50:]}.values():
                self.read(order)

    def read(self, order):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            answer = self.system.queries.send("GET", f"/v1/orders/{order.id}")
            if answer and answer[0] == 200:
                self.reads += 1
                if answer[1].get("total") != order.total:
                    self.unexpected.append(f"GET {order.id}: not {order.total} but {answer}")
                return
            # It has no row yet, or the service is down or unavailable.
            if answer and answer[0] not in (404, 503, 504):
                self.unexpected.append(f"GET {order.id}: {answer}")
            self.repeats += 1
            time.sleep(0.1)
        self.unexpected.append(f"GET {order.id}: not answered in {PATIENCE} s")
