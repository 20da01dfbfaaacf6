"""Compares what the clients were told and the mails that arrived with what the shop did."""

import collections

from clients import DEADLINES, SCARCE
from system import counterflow, queries, rows, value, wait_until

# An attempt that is over may still write to the mail server for about a second (SMTPClient).
ATTEMPT_ENDS = 2
KEY = "reaction/customer-mail/"
failures = 0


def compare(what, expected, found):
    global failures
    is_right = expected == found
    failures += not is_right
    print(f"  {'ok   ' if is_right else 'WRONG'} {what:<58} {found}" + ("" if is_right else f", expected {expected}"), flush=True)


def none_of(what, found):
    """Expects an empty list, and prints some of it otherwise."""
    compare(what, 0, len(found))
    for one in found[:5]:
        print(f"          {one}")


def compare_all(shop, mails, attacks, is_settled):
    """Returns the exit status."""
    print("compared:")
    compare("kinds of attacks that happened", len(attacks.kinds), len(attacks.counts))
    compare("everything has come to rest", True, is_settled)
    none_of("unexpected answers", shop.unexpected)
    compare_orders(shop)
    compare_stock(shop)
    compare_commands()
    compare_mails(shop, mails)
    # Reactors may still be sharing the partitions of those that the last attack has killed.
    compare_command("status", 120)
    compare_command("verify", 0)
    return 1 if failures else 0


def compare_command(name, patience):
    results = []

    def succeeds():
        results.append(counterflow(name))
        return results[-1].returncode == 0

    wait_until(succeeds, patience)
    compare(f"exit status of counterflow {name}", 0, results[-1].returncode)
    if results[-1].returncode:
        print(results[-1].stdout, results[-1].stderr)


def compare_orders(shop):
    events = collections.defaultdict(list)
    for order, kind, reason in rows(
        """select substr(stream, 7), type, coalesce(data ->> 'reason', '') from event_store.events
           where stream like 'order-%' order by position"""):
        events[order].append(f"{kind} {reason}".strip())
    cancelled = ["OrderPlaced", "OrderCancelled paymentOverdue"]
    histories = {
        "placed": cancelled, "too late": cancelled, "paid": ["OrderPlaced", "OrderPaid"],
        "shipped": ["OrderPlaced", "OrderPaid", "OrderShipped"],
    }
    orders = {order.id: order for order in shop.orders}
    compare("orders that were acknowledged and are in the store", len(orders), len(events.keys() & orders.keys()))
    none_of("orders in the store that nobody placed", sorted(events.keys() - orders.keys()))
    for what, states in (
            ("unpaid orders, cancelled exactly once", ["placed"]),
            ("orders whose payment came too late, cancelled exactly once", ["too late"]),
            ("paid orders, never cancelled", ["paid", "shipped"])):
        own = [order for order in orders.values() if order.state in states]
        wrong = [(order.id, events[order.id]) for order in own if events[order.id] != histories[order.state]]
        compare(what, len(own), len(own) - len(wrong))
        for one in wrong[:5]:
            print(f"          {one}")
    found, cursor = {}, ""
    while cursor is not None:
        page = queries.send("GET", f"/v1/orders?limit=100{cursor}")[1]
        found |= {item["orderId"]: item["status"] for item in page["items"]}
        cursor = f"&cursor={page['nextCursor']}" if page["nextCursor"] else None
    states = {"placed": "cancelled", "too late": "cancelled", "paid": "paid", "shipped": "shipped"}
    compare("orders that query-service shows in the right state", len(orders),
            sum(found.get(order.id) == states.get(order.state) for order in orders.values()))


def compare_stock(shop):
    received, reserved = dict(shop.stock), collections.Counter()
    for order in shop.orders:
        if order.state == "shipped":
            received[order.sku] -= order.quantity
        elif order.state == "paid":
            reserved[order.sku] += order.quantity
    expected = {sku: (received[sku], reserved[sku]) for sku in shop.stock}
    stored = {
        sku: (int(hand), int(kept)) for sku, hand, kept in rows(
            """select substr(stream, 9), coalesce(sum((data ->> 'quantity')::bigint
                   * case type when 'StockReceived' then 1 when 'StockShipped' then -1 else 0 end), 0),
                 coalesce(sum((data ->> 'quantity')::bigint
                   * case type when 'StockReserved' then 1 when 'StockReleased' then -1 when 'StockShipped' then -1 else 0 end), 0)
               from event_store.events where stream like 'product-%' group by stream""")}
    compare("products with the right stock in the store", len(expected), sum(stored.get(sku) == expected[sku] for sku in expected))
    read = {sku: queries.send("GET", f"/v1/products/{sku}")[1].get("stock", {}) for sku in expected}
    compare("products with the right stock from query-service", len(expected),
            sum((read[sku].get("onHand"), read[sku].get("reserved")) == expected[sku] for sku in expected))
    waiting = {
        sku: int(count) for sku, count in rows(
            """select substr(stream, 10), sum(case type when 'BackInStockRequested' then 1
                 else -json_array_length((data -> 'customerIds')::json) end)
               from event_store.events where stream like 'waitlist-%' group by stream""")}
    none_of("available products that customers still wait for",
            [sku for sku in SCARCE if waiting.get(sku) and expected[sku][0] > expected[sku][1]])


def compare_commands():
    """Every command of a reaction stands once in the store."""
    compare("deadlines that are left", "0", value("select count(*) from event_store.deadlines"))
    placed = value("select count(*) from event_store.events where type = 'OrderPlaced'")
    compare("orders whose deadline was set exactly once", placed, value(
        """select count(*) from event_store.events e join event_store.idempotency_keys k
             on k.scope = 'reaction/cancel-unpaid' and k.key = e.id::text where e.type = 'OrderPlaced'"""))
    compare("commands of cancel-unpaid", placed, value(
        "select count(*) from event_store.idempotency_keys where scope = 'reaction/cancel-unpaid'"))
    compare("commands of deadlines", placed, value(
        "select count(*) from event_store.idempotency_keys where scope = 'deadline'"))
    compare("orders cancelled before any deadline", "0", value(
        f"""select count(*) from event_store.events c join event_store.events p using (stream)
            where c.type = 'OrderCancelled' and p.type = 'OrderPlaced'
              and c.recorded_at < p.recorded_at + interval '{min(DEADLINES)} seconds'"""))
    caused = "metadata ->> 'causationId' ~ '^(reaction|deadline)/'"
    compare("events of reactions whose command is in the store",
            value(f"select count(*) from event_store.events where {caused}"), value(
        f"""select count(*) from event_store.events e where {caused} and exists (select from event_store.idempotency_keys k
              where k.scope || '/' || k.key = e.metadata ->> 'causationId')"""))
    # What took effect twice would be two appends.
    compare("commands of reactions whose events are not one append", "0", value(
        f"""select count(*) from (select from event_store.events where {caused} group by metadata ->> 'causationId'
              having max(position) - min(position) + 1 <> count(*)) c"""))
    compare("notices, one for each customer that was notified", value(
        """select coalesce(sum(json_array_length((data -> 'customerIds')::json)), 0) from event_store.events
           where type = 'WaitlistNotified'"""), value(
        "select count(*) from event_store.events where type = 'BackInStockNoticed'"))
    compare("positions dense from 1", "t", value(
        "select count(*) = max(position) and min(position) = 1 from event_store.events"))


def subject(kind, subject_of):
    return {
        "OrderPlaced": "Your order {}", "OrderShipped": "Your order {} is on its way",
        "BackInStockNoticed": "Product {} is back in stock",
    }[kind].format(subject_of)


def compare_mails(shop, mails):
    customers = {customer.id: customer for customer in shop.customers}
    buyers = {order.id: order.customer for order in shop.orders}
    # What each mail must be, by its Message-ID.
    calls, right, required = 0, {}, set()
    for event, kind, about, customer in rows(
        """select id, type, coalesce(data ->> 'orderId', data ->> 'sku'), coalesce(data ->> 'customerId', '')
           from event_store.events where type in ('OrderPlaced', 'OrderShipped', 'BackInStockNoticed')"""):
        calls += 1
        recipient = customers[customer] if customer else buyers[about]
        if recipient.address:
            message_id = f"<{KEY}{event}@localhost>"
            right[message_id] = (recipient.address, subject(kind, about))
            if recipient.id not in shop.erased:
                required.add(message_id)
    compare("calls whose success is recorded", str(calls), value(
        "select count(distinct key) from event_store.effect_attempts where outcome = 'succeeded'"))
    arrived = collections.Counter(mail.message_id for mail in mails.accepted)
    compare("expected mails that arrived", len(required), len(required & arrived.keys()))
    none_of("mails with another Message-ID, recipient or subject",
            [mail for mail in mails.accepted if right.get(mail.message_id) != (mail.recipient, mail.subject)])
    compare_erasures(shop, mails)
    doubles = sum(count > 1 for count in arrived.values())
    compare("some mails arrived twice, so that duplicates were tested", True, doubles > 0)
    counts = ", ".join(f"{count} {what}" for what, count in sorted(mails.counts.items()))
    print(f"  {len(mails.accepted)} mails accepted, {doubles} Message-IDs more than once; the server's faults: {counts}")


def compare_erasures(shop, mails):
    """Once an erasure is acknowledged, a mail may arrive only from an attempt that had begun before and has not ended."""
    compare("erasures", str(len(shop.erased)), value(
        "select count(*) from event_store.events where type = 'PersonalDataErased'"))
    attempts = collections.defaultdict(list)
    for key, begin, end in rows(
        """select key, extract(epoch from started_at), extract(epoch from coalesce(finished_at, 'infinity'))
           from event_store.effect_attempts"""):
        attempts[f"<{key}@localhost>"].append((float(begin), float(end)))
    erased = {f"{customer}@example.org": time for customer, time in shop.erased.items()}
    late = [mail for mail in mails.accepted if mail.accepted_at > erased.get(mail.recipient, float("inf"))]
    none_of("mails to erased people, except those under way", [
        mail for mail in late if not any(
            begin < erased[mail.recipient] and mail.accepted_at < end + ATTEMPT_ENDS
            for begin, end in attempts[mail.message_id])])
    print(f"  {len(late)} mails were under way when their recipient was erased")
