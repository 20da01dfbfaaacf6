"""Compares the mails that arrived with the events of the shop, and with when personal data were erased."""

import collections

from .shell import say

# An attempt that is over may still write to the mail server for about a second (SMTPClient).
ATTEMPT_ENDS = 2
KEY = "reaction/customer-mail/"
SUBJECTS = {
    "OrderPlaced": "Your order {}", "OrderShipped": "Your order {} is on its way",
    "BackInStockNoticed": "Product {} is back in stock",
}


def compare_mails(shop, mails, verdict):
    calls, right, required = expected_mails(shop)
    verdict.compare("calls whose success is recorded", calls, shop.system.count(
        "select count(distinct key) from event_store.effect_attempts where outcome = 'succeeded'"))
    arrived = collections.Counter(mail.message_id for mail in mails.accepted)
    verdict.all_of("expected mails that arrived", required, sorted(required - arrived.keys()))
    verdict.none_of("mails with another Message-ID, recipient or subject",
                    [mail for mail in mails.accepted if right.get(mail.message_id) != (mail.recipient, mail.subject)])
    compare_erasures(shop, mails, verdict)
    doubles = sum(count > 1 for count in arrived.values())
    verdict.compare("some mails arrived twice, so that duplicates were tested", True, doubles > 0)
    faults = ", ".join(f"{count} {what}" for what, count in sorted(mails.counts.items()))
    say(f"  {len(mails.accepted)} mails accepted, {doubles} Message-IDs more than once; the server's faults: {faults}")


def expected_mails(shop):
    """The number of calls; what each mail must be, by its Message-ID; and the Message-IDs of those that must arrive."""
    customers = {customer.id: customer for customer in shop.customers}
    buyers = {order.id: order.customer for order in shop.orders}
    calls, right, required = 0, {}, set()
    for event, kind, about, customer in shop.system.rows(
        """select id, type, coalesce(data ->> 'orderId', data ->> 'sku'), coalesce(data ->> 'customerId', '')
           from event_store.events where type in ('OrderPlaced', 'OrderShipped', 'BackInStockNoticed')"""):
        calls += 1
        recipient = customers[customer] if customer else buyers[about]
        if recipient.address:
            message_id = f"<{KEY}{event}@localhost>"
            right[message_id] = (recipient.address, SUBJECTS[kind].format(about))
            if recipient.id not in shop.erased:
                required.add(message_id)
    return calls, right, required


def compare_erasures(shop, mails, verdict):
    """Once an erasure is acknowledged, a mail may arrive only from an attempt that had begun before and has not ended."""
    verdict.compare("erasures", len(shop.erased), shop.system.count(
        "select count(*) from event_store.events where type = 'PersonalDataErased'"))
    attempts = collections.defaultdict(list)
    for key, begin, end in shop.system.rows(
        """select key, extract(epoch from started_at), extract(epoch from coalesce(finished_at, 'infinity'))
           from event_store.effect_attempts"""):
        attempts[f"<{key}@localhost>"].append((float(begin), float(end)))
    erased = {f"{customer}@example.org": time for customer, time in shop.erased.items()}
    late = [mail for mail in mails.accepted if mail.accepted_at > erased.get(mail.recipient, float("inf"))]
    verdict.none_of("mails to erased people, except those under way", [
        mail for mail in late if not any(
            begin < erased[mail.recipient] and mail.accepted_at < end + ATTEMPT_ENDS
            for begin, end in attempts[mail.message_id])])
    say(f"  {len(late)} mails were under way when their recipient was erased")
