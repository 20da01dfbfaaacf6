"""Clients of a shop, attacks on it, and a comparison of what the clients were told with what the shop did.

  chaos_reactions SEED ORDERS SECONDS MAIL-PORT

scripts/chaos --reactions starts it beside its system. It needs Debian's python3-aiosmtpd. All choices of the clients, the
mail server and the attacks follow from SEED. When they are made depends on the machine.
"""

import random
import signal
import sys
import threading
import time

import oracle
from attacks import Attacks
from clients import Shop
from mails import MailServer
from system import say, settle, wait_until_ready


def main(seed, orders, seconds, port):
    mails = MailServer(port, random.Random(f"{seed}/mails"))
    mails.start()
    wait_until_ready()
    shop = Shop(seed, orders, seconds)
    shop.open()
    say(f"placing {orders} orders of {len(shop.customers)} customers in {seconds} s or more, and attacking")
    attacks = Attacks(random.Random(f"{seed}/attacks"), mails)
    load = threading.Thread(target=shop.run, daemon=True)
    begin = time.monotonic()
    load.start()
    try:
        attacks.run(load)
        load.join()
    finally:
        attacks.end()
    say(f"all acknowledged after {time.monotonic() - begin:.0f} s; {shop.repeats} requests were repeated")
    begin = time.monotonic()
    is_settled = settle()
    say(f"after {attacks.total} attacks, all reactions have caught up in {time.monotonic() - begin:.0f} s:")
    for kind, count in attacks.counts.items():
        print(f"  {count:4}  {kind}")
    mails.stop()
    return oracle.compare_all(shop, mails, attacks, is_settled)


# What is stopped continues before this ends.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
