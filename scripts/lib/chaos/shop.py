"""The customers of a shop: what they order, when they pay, and the responses that they got."""

import random
import threading
import time

from .orders import Acknowledged
from .shell import say
from .steps import Steps

# How long a command may take until it is answered, in seconds.
PATIENCE = 900

# Each reactor has another one (PAYMENT_DEADLINE): the reactor that handles an order decides which one the order has.
DEADLINES = (2, 8, 20)
PLENTIFUL, SCARCE = [f"P-{n}" for n in range(40)], ["S-0", "S-1"]
PRICE = 7


class Customer:
    def __init__(self, number, choices):
        self.id = f"c{number}"
        self.address = None if choices.random() < 0.1 else f"{self.id}@example.org"


class Order:
    def __init__(self, number, seed, customers):
        self.id = f"o{number}"
        choices = random.Random(f"{seed}/{self.id}")
        self.customer = choices.choice(customers)
        self.sku = choices.choice(SCARCE if choices.random() < 0.08 else PLENTIFUL)
        self.substitute = choices.choice(PLENTIFUL)
        self.quantity = choices.randint(1, 3)
        # After how many seconds it is paid, at once or close to a deadline; None for never.
        self.payment = None
        if choices.random() < 0.55:
            self.payment = choices.random() if choices.random() < 0.7 else choices.choice(DEADLINES) + choices.uniform(-1, 0.5)
        self.shipment = choices.uniform(0, 2) if choices.random() < 0.6 else None
        # After how many seconds the customer's personal data is erased, while the mail may be under way; None for never.
        self.erasure = choices.uniform(0, 1) if choices.random() < 0.05 else None
        # What follows from the responses to the client.
        self.state = None


class Shop:
    """Carries out the clients' choices, and knows every answer."""

    def __init__(self, system, seed, orders, seconds):
        self.system = system
        choices = random.Random(f"{seed}/customers")
        self.customers = [Customer(n, choices) for n in range(max(40, orders // 5))]
        self.orders = [Order(n, seed, self.customers) for n in range(orders)]
        self.seconds = seconds
        # The scarce ones run out.
        self.stock = {**{sku: 3 * orders for sku in PLENTIFUL}, **{sku: 3 + orders // 100 for sku in SCARCE}}
        self.steps, self.lock = Steps(), threading.Lock()
        self.repeats, self.acknowledged, self.unexpected = 0, [], []
        # When the erasure of a customer's data was acknowledged.
        self.erased = {}

    def open(self):
        """Registers products and customers."""
        for sku, quantity in self.stock.items():
            self.steps.after(0, self.add_product, sku, quantity)
        for customer in self.customers:
            self.steps.after(0, self.register, customer)
        self.steps.run()

    def run(self):
        """Places all orders, evenly over the time; returns once all answers are there."""
        for index, order in enumerate(self.orders):
            self.steps.after(index * self.seconds / len(self.orders), self.place, order)
        self.steps.run()

    def send(self, method, path, body, key):
        """Repeats a command with its key until it is answered; returns the status, and the problem's name if there is one."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            answer = self.system.commands.send(method, path, body, key)
            status = answer[0] if answer else None
            problem = answer[1].get("type", "").rpartition(":")[2] if answer else None
            if status not in (None, 503, 504) and problem not in ("version-conflict", "changed-meanwhile"):
                return status, problem
            with self.lock:
                self.repeats += 1
            time.sleep(random.uniform(0.05, 0.3))
        return None, "never answered"

    def expect(self, expected, method, path, body, key):
        """Whether a command succeeds. A problem of another name than the expected one is noted."""
        status, problem = self.send(method, path, body, key)
        if status in (200, 201):
            return True
        if problem not in expected:
            with self.lock:
                self.unexpected.append(f"{method} {path}: {status} {problem}")
            say(f"unexpected: {self.unexpected[-1]}")
        return False

    def add_product(self, sku, quantity):
        self.expect([], "POST", "/v1/products", {"sku": sku, "name": f"Product {sku}", "unitPrice": PRICE}, f"product-{sku}")
        self.expect([], "POST", f"/v1/products/{sku}/stock/receipts", {"quantity": quantity}, f"receipt-{sku}")

    def register(self, customer):
        body = {"customerId": customer.id, "name": "Somebody"} | ({"email": customer.address} if customer.address else {})
        self.expect([], "POST", "/v1/customers", body, f"register-{customer.id}")

    def erase(self, customer):
        if self.expect([], "DELETE", f"/v1/customers/{customer.id}/personal-data", {}, f"erase-{customer.id}"):
            self.erased.setdefault(customer.id, time.time())

    def place(self, order):
        line = {"sku": order.sku, "quantity": order.quantity}
        body = {"orderId": order.id, "customerId": order.customer.id, "lines": [line]}
        if self.expect(["stock-lacking"], "POST", "/v1/orders", body, f"place-{order.id}-{order.sku}"):
            order.state = "placed"
            with self.lock:
                self.acknowledged.append(Acknowledged(order.id, order.customer.id, order.quantity * PRICE))
            if order.erasure is not None:
                self.steps.after(order.erasure, self.erase, order.customer)
            if order.payment is not None:
                self.steps.after(order.payment, self.pay, order)
        elif order.sku in SCARCE:
            # The customer asks for a mail when it is back, and orders something else meanwhile.
            self.expect(
                ["product-available", "customer-erased"], "POST", f"/v1/products/{order.sku}/notifications",
                {"customerId": order.customer.id}, f"notify-{order.id}")
            order.sku = order.substitute
            self.place(order)

    def pay(self, order):
        amount = {"amount": order.quantity * PRICE}
        if self.expect(["order-cancelled"], "POST", f"/v1/orders/{order.id}/payment", amount, f"pay-{order.id}"):
            order.state = "paid"
            if order.shipment is not None:
                self.steps.after(order.shipment, self.ship, order)
        else:
            order.state = "too late"

    def ship(self, order):
        body = {"carrier": "Post", "trackingCode": f"T {order.id}"}
        if self.expect([], "POST", f"/v1/orders/{order.id}/shipment", body, f"ship-{order.id}"):
            order.state = "shipped"
