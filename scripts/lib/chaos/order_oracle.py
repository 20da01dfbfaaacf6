"""Compares acknowledged orders with the store and with what query-service shows."""

import collections
import queue

from .orders import PATIENCE
from .shell import all_at_once, wait_until

READERS = 16


def compare_orders(system, verdict, acknowledged, reader):
    """acknowledged has an id, a customer and a total for each order."""
    verdict.compare("orders were read meanwhile", True, reader.reads > 0)
    verdict.none_of("unexpected responses to the reader", reader.unexpected)
    wrong = unreadable(system, acknowledged)
    verdict.all_of("acknowledged orders readable with the right total", acknowledged, wrong)
    listed = collections.Counter(lists(system, {order.customer for order in acknowledged}))
    expected = {(order.customer, order.id) for order in acknowledged}
    verdict.compare("orders in the customers' lists", len(expected), listed.total())
    verdict.compare("of these, orders listed once and acknowledged", len(expected),
                    sum(listed[order] == 1 for order in expected))
    compare_placed(system, verdict, acknowledged)


def compare_placed(system, verdict, acknowledged):
    placed = "from event_store.events where type = 'OrderPlaced'"
    verdict.compare("OrderPlaced events in the store", len(acknowledged), system.count(f"select count(*) {placed}"))
    verdict.compare("streams that they are in", len(acknowledged), system.count(f"select count(distinct stream) {placed}"))
    streams = {stream for (stream,) in system.rows(f"select stream {placed}")}
    verdict.none_of("acknowledged orders without a stream", [
        order for order in acknowledged if f"order-{order.id}" not in streams])


def unreadable(system, acknowledged):
    """Queries each order by itself, those that are not readable yet again and again; returns those that never are."""
    left = acknowledged

    def are_all_readable():
        nonlocal left
        left = [order for order, is_right in at_once(lambda order: is_readable(system, order), left) if not is_right]
        return not left

    wait_until(are_all_readable, PATIENCE)
    return left


def is_readable(system, order):
    answer = system.queries.send("GET", f"/v1/orders/{order.id}")
    return bool(answer) and answer[0] == 200 and answer[1].get("total") == order.total


def lists(system, customers):
    """Every customer and order in the customers' lists, page by page."""
    return [(customer, order) for customer, orders in at_once(lambda name: listed(system, name), customers) for order in orders]


def listed(system, customer):
    orders, cursor = [], ""
    while cursor is not None:
        status, page = system.queries.send("GET", f"/v1/customers/{customer}/orders?limit=100{cursor}") or (None, {})
        if status != 200:
            raise ConnectionError(f"the list of {customer}: {status} {page}")
        orders += [item["orderId"] for item in page["items"]]
        cursor = f"&cursor={page['nextCursor']}" if page.get("nextCursor") else None
    return orders


def at_once(function, items):
    """Each item with the function's result."""
    waiting, results = queue.SimpleQueue(), []
    for item in items:
        waiting.put(item)

    def work(_):
        while True:
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            results.append((item, function(item)))

    all_at_once(work, range(READERS))
    return results
