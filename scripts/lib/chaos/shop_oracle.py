"""Compares what the clients of a shop were answered with what the shop did."""

import collections

from .order_oracle import at_once
from .shop import DEADLINES, SCARCE


def compare_shop(shop, verdict):
    verdict.none_of("unexpected answers", shop.unexpected)
    compare_histories(shop, verdict)
    compare_states(shop, verdict)
    compare_stock(shop, verdict)
    compare_waiting(shop, verdict)
    compare_deadlines(shop.system, verdict)
    compare_commands(shop.system, verdict)
    verdict.compare_positions(shop.system)


def compare_histories(shop, verdict):
    events = collections.defaultdict(list)
    for order, kind, reason in shop.system.rows(
        """select substr(stream, 7), type, coalesce(data ->> 'reason', '') from event_store.events
           where stream like 'order-%' order by position"""):
        events[order].append(f"{kind} {reason}".strip())
    cancelled = ["OrderPlaced", "OrderCancelled paymentOverdue"]
    histories = {
        "placed": cancelled, "too late": cancelled, "paid": ["OrderPlaced", "OrderPaid"],
        "shipped": ["OrderPlaced", "OrderPaid", "OrderShipped"],
    }
    orders = {order.id: order for order in shop.orders}
    verdict.compare("orders that were acknowledged and are in the store", len(orders), len(events.keys() & orders.keys()))
    verdict.none_of("orders in the store that nobody placed", sorted(events.keys() - orders.keys()))
    for what, states in (
            ("unpaid orders, cancelled exactly once", ["placed"]),
            ("orders whose payment came too late, cancelled exactly once", ["too late"]),
            ("paid orders, never cancelled", ["paid", "shipped"])):
        own = [order for order in orders.values() if order.state in states]
        wrong = [(order.id, events[order.id]) for order in own if events[order.id] != histories[order.state]]
        verdict.all_of(what, own, wrong)


def compare_states(shop, verdict):
    found, cursor = {}, ""
    while cursor is not None:
        page = shop.system.queries.send("GET", f"/v1/orders?limit=100{cursor}")[1]
        found |= {item["orderId"]: item["status"] for item in page["items"]}
        cursor = f"&cursor={page['nextCursor']}" if page["nextCursor"] else None
    states = {"placed": "cancelled", "too late": "cancelled", "paid": "paid", "shipped": "shipped"}
    verdict.all_of("orders that query-service shows in the right state", shop.orders, [
        (order.id, order.state, found.get(order.id)) for order in shop.orders
        # An order without a state was never acknowledged.
        if order.state is None or found.get(order.id) != states[order.state]])


def expected_stock(shop):
    """What is on hand and what is reserved of each product."""
    received, reserved = dict(shop.stock), collections.Counter()
    for order in shop.orders:
        if order.state == "shipped":
            received[order.sku] -= order.quantity
        elif order.state == "paid":
            reserved[order.sku] += order.quantity
    return {sku: (received[sku], reserved[sku]) for sku in shop.stock}


def compare_stock(shop, verdict):
    expected = expected_stock(shop)
    stored = {
        sku: (int(hand), int(kept)) for sku, hand, kept in shop.system.rows(
            """select substr(stream, 9), coalesce(sum((data ->> 'quantity')::bigint
                   * case type when 'StockReceived' then 1 when 'StockShipped' then -1 else 0 end), 0),
                 coalesce(sum((data ->> 'quantity')::bigint
                   * case type when 'StockReserved' then 1 when 'StockReleased' then -1 when 'StockShipped' then -1 else 0 end), 0)
               from event_store.events where stream like 'product-%' group by stream""")}
    verdict.all_of("products with the right stock in the store", expected, [
        (sku, stored.get(sku)) for sku in expected if stored.get(sku) != expected[sku]])
    queries = shop.system.queries
    read = dict(at_once(lambda sku: queries.send("GET", f"/v1/products/{sku}")[1].get("stock", {}), expected))
    verdict.all_of("products with the right stock from query-service", expected, [
        (sku, read[sku]) for sku in expected if (read[sku].get("onHand"), read[sku].get("reserved")) != expected[sku]])


def compare_waiting(shop, verdict):
    expected = expected_stock(shop)
    waiting = {
        sku: int(count) for sku, count in shop.system.rows(
            """select substr(stream, 10), sum(case type when 'BackInStockRequested' then 1
                 else -json_array_length((data -> 'customerIds')::json) end)
               from event_store.events where stream like 'waitlist-%' group by stream""")}
    verdict.none_of("available products that customers still wait for",
                    [sku for sku in SCARCE if waiting.get(sku) and expected[sku][0] > expected[sku][1]])


def compare_deadlines(system, verdict):
    """Every order has one deadline, and every deadline was carried out once."""
    verdict.compare("deadlines that are left", 0, system.count("select count(*) from event_store.deadlines"))
    placed = system.count("select count(*) from event_store.events where type = 'OrderPlaced'")
    verdict.compare("orders whose deadline was set exactly once", placed, system.count(
        """select count(*) from event_store.events e join event_store.idempotency_keys k
             on k.scope = 'reaction/cancel-unpaid' and k.key = e.id::text where e.type = 'OrderPlaced'"""))
    verdict.compare("commands of cancel-unpaid", placed, system.count(
        "select count(*) from event_store.idempotency_keys where scope = 'reaction/cancel-unpaid'"))
    verdict.compare("commands of deadlines", placed, system.count(
        "select count(*) from event_store.idempotency_keys where scope = 'deadline'"))
    verdict.compare("orders cancelled before any deadline", 0, system.count(
        f"""select count(*) from event_store.events c join event_store.events p using (stream)
            where c.type = 'OrderCancelled' and p.type = 'OrderPlaced'
              and c.recorded_at < p.recorded_at + interval '{min(DEADLINES)} seconds'"""))


def compare_commands(system, verdict):
    """Every command of a reaction stands once in the store."""
    caused = "metadata ->> 'causationId' ~ '^(reaction|deadline)/'"
    verdict.compare(
        "events of reactions whose command is in the store",
        system.count(f"select count(*) from event_store.events where {caused}"), system.count(
            f"""select count(*) from event_store.events e where {caused} and exists (select from event_store.idempotency_keys k
                  where k.scope || '/' || k.key = e.metadata ->> 'causationId')"""))
    # What took effect twice would be two appends.
    verdict.compare("commands of reactions whose events are not one append", 0, system.count(
        f"""select count(*) from (select from event_store.events where {caused} group by metadata ->> 'causationId'
              having max(position) - min(position) + 1 <> count(*)) c"""))
    verdict.compare("notices, one for each customer that was notified", system.count(
        """select coalesce(sum(json_array_length((data -> 'customerIds')::json)), 0) from event_store.events
           where type = 'WaitlistNotified'"""), system.count(
        "select count(*) from event_store.events where type = 'BackInStockNoticed'"))
