"""The kinds of run. Each starts its load, attacks, and compares."""

import dataclasses
import json
import os
import time
from pathlib import Path

from . import hot
from .attacks import Attacks
from .mail_oracle import compare_mails
from .mails import MailServer
from .order_oracle import compare_orders, compare_placed
from .orders import Orders, Reader
from .shell import LOCAL, WORK, Background, Failure, bash, output_of, run_script, say, wait_until
from .shop import DEADLINES, Shop
from .shop_oracle import compare_shop
from .system import System, counterflow, serving
from .verdict import Verdict

SETTLED = 900


@dataclasses.dataclass
class Options:
    kind: str
    seed: int
    seconds: int
    orders: int
    clients: int
    schedule: list
    # Where the schedule comes from, if not from the seed.
    file: Path | None = None

    def __str__(self):
        """The command that makes the same choices again."""
        numbers = [("seed", self.seed), ("seconds", self.seconds), ("orders", self.orders), ("clients", self.clients),
                   ("schedule", self.file)]
        kind = "" if self.kind == "default" else f" --{self.kind}"
        return f"scripts/chaos{kind}" + "".join(f" --{name} {value}" for name, value in numbers if value is not None)


@dataclasses.dataclass
class Kind:
    run: type
    seconds: int
    orders: int | None = None
    clients: int | None = None


class Run:
    """What all kinds of run have in common."""

    replicas = "command-service=1"
    result = "Nothing was lost, doubled or changed."

    def __init__(self, options):
        self.options, self.system, self.verdict = options, System(), Verdict()
        self.attacks = Attacks(self.system, options.schedule)

    def prepare(self):
        """Settings of the system that is about to start."""

    def verdict_of(self):
        """Runs everything; returns the exit status."""
        run_script("reset")
        try:
            self.prepare()
            self.system.start(self.replicas)
            self.write_schedule()
            self.load_and_attack()
            self.system.wait_for_postgres()
            say("compared:")
            self.attacks.compare(self.verdict)
            self.compare()
        except Failure as failure:
            self.verdict.failures += 1
            say(f"failed: {failure}")
        finally:
            self.attacks.end()
            run_script("down", "--quiet")
        if self.verdict.failures:
            say(f"something differs, with {self.options}; logs are in {LOCAL / 'log'}, the schedule is in {WORK}")
            return 1
        say(self.result)
        return 0

    def write_schedule(self):
        lines = [f"# {self.options}", *map(str, self.options.schedule)]
        (WORK / "schedule").write_text("\n".join(lines) + "\n")
        say(f"seed {self.options.seed}; the same choices again: {self.options}")
        say(f"{len(self.options.schedule)} attacks: {WORK / 'schedule'}")

    def attack_until(self, end):
        """Carries out the schedule; returns when that many seconds have passed too."""
        begin = time.monotonic()
        self.attacks.run()
        time.sleep(max(0, begin + end - time.monotonic()))
        self.attacks.finish()


class DefaultRun(Run):
    """Orders from several clients, and a reader of what they were answered."""

    def load_and_attack(self):
        options = self.options
        self.orders = Orders(self.system, options.seed, options.clients, options.orders / options.seconds, options.orders)
        self.orders.register()
        say(f"placing {options.orders} orders from {options.clients} clients in {options.seconds} s or more, and attacking")
        self.reader = Reader(self.system, lambda: self.orders.acknowledged)
        self.orders.start()
        self.attacks.run()
        say(f"all answered after {self.orders.finish():.1f} s; {self.orders.repeats} requests were repeated")
        self.reader.finish()
        say(f"meanwhile {self.reader.reads} orders were read; {self.reader.repeats} of these queries were repeated")
        self.attacks.finish()

    def compare(self):
        self.verdict.compare("acknowledged orders", self.options.orders, len(self.orders.acknowledged))
        self.verdict.none_of("unexpected responses", self.orders.unexpected)
        compare_orders(self.system, self.verdict, self.orders.acknowledged, self.reader)
        self.verdict.compare_positions(self.system)


class HotRun(Run):
    """The write path alone: clients of two replicas that repeat keys, and kills."""

    replicas = "command-service=2"
    result = "Nothing was lost, doubled or answered in two ways."

    def load_and_attack(self):
        urls = [(LOCAL / f"run/command-service-{n}.url").read_text().strip() for n in (1, 2)]
        self.clients = hot.HotClients(self.options.seed, urls)
        self.clients.register()
        say(f"changing prices of {hot.PRODUCTS} products through 2 replicas for {self.options.seconds} s, and killing")
        self.clients.start()
        self.attack_until(self.options.seconds)
        self.clients.finish()

    def compare(self):
        hot.compare_streams(self.system, self.verdict)
        say("  " + hot.compare_keys(self.verdict, self.clients, hot.stored_keys(self.system)))


class ProjectorsRun(Run):
    """The read side: many orders, and attacks on three or four projectors and their servers."""

    replicas = "projector=3"
    result = "Every projection is complete and correct."
    # Orders a second. A slow machine places fewer.
    rate = 320

    def load_and_attack(self):
        self.orders = Orders(self.system, self.options.seed, self.options.clients, self.rate)
        self.orders.register()
        say(f"placing up to {self.rate} orders a second for {self.options.seconds} s, and attacking")
        self.orders.start()
        self.lags, is_over = [], False

        def watch():
            while not is_over:
                self.lags += [entry["lagMs"] for entry in serving() or []]
                time.sleep(1)

        watcher = Background(watch)
        self.attack_until(self.options.seconds)
        self.orders.finish()
        is_over = True
        watcher.finish()

    def compare(self):
        begin = time.monotonic()
        if not wait_until(self.has_caught_up, 120):
            raise Failure(f"the projections have not caught up in 120 s:\n{counterflow('status').stdout}")
        events = self.system.count("select max(position) from event_store.events")
        say(f"  caught up after {time.monotonic() - begin:.0f} s; {events} events, {self.orders.repeats} requests repeated")
        say(f"  the longest that an event waited for its row: {max(self.lags, default=None)} ms")
        self.verdict.compare_command("status", 0)
        self.verdict.compare_command("verify", 0)
        self.verdict.compare_positions(self.system)
        self.verdict.none_of("unexpected responses", self.orders.unexpected)
        compare_placed(self.system, self.verdict, self.orders.acknowledged)
        self.verdict.compare("there was load: more events than 20 a second", True, events > 20 * self.options.seconds)

    @staticmethod
    def has_caught_up():
        generations = serving()
        return bool(generations) and all(entry["lagEvents"] == 0 for entry in generations)


class ReactionsRun(Run):
    """Reactions, deadlines and mails: customers who pay about half of their orders, three reactors, and a mail server."""

    result = "Every reaction took effect exactly once."

    def prepare(self):
        packages = bash('mkdir -p "$log_dir"; install_packages python3-aiosmtpd')
        if packages.returncode:
            raise Failure("python3-aiosmtpd is missing")
        port = int(output_of("free_port"))
        # PAYMENT_DEADLINE is that of the first reactor.
        os.environ.update(PAYMENT_DEADLINE=str(DEADLINES[0]), SMTP_URL=f"smtp://127.0.0.1:{port}", SMTP_TIMEOUT="5")
        self.mails = self.attacks.mails = MailServer(port, self.options.seed)

    def load_and_attack(self):
        # The reactor that handles an order's event decides which deadline the order has.
        for number, deadline in enumerate(DEADLINES[1:], 2):
            self.system.start_service(f"reactor-{number}", "reactor", "reactor", PAYMENT_DEADLINE=deadline)
        self.mails.start()
        self.wait_until_ready()
        options = self.options
        self.shop = Shop(self.system, options.seed, options.orders, options.seconds)
        self.shop.open()
        customers = len(self.shop.customers)
        say(f"placing {options.orders} orders of {customers} customers in {options.seconds} s or more, and attacking")
        say(f"all acknowledged after {self.run_shop():.0f} s; {self.shop.repeats} requests were repeated")
        self.attacks.finish()
        begin = time.monotonic()
        self.is_settled = wait_until(self.has_settled, SETTLED)
        say(f"all reactions have caught up after {time.monotonic() - begin:.0f} s")
        self.mails.stop()

    def run_shop(self):
        """Returns how many seconds the customers took."""
        begin, load = time.monotonic(), Background(self.shop.run)
        self.attacks.run()
        load.finish()
        return load.ended - begin

    def wait_until_ready(self):
        """Returns once every partition of the reactions has an owner: they react to what happens from then on."""
        owned = """select count(distinct projection) = 3 and bool_and(owner is not null)
                   from projections.checkpoints where projection like 'reaction/%'"""
        if not wait_until(lambda: self.system.is_true(owned), SETTLED):
            raise Failure("the reactors have not begun")

    def has_settled(self):
        """No deadline is left, no stream is parked, and all projections have caught up."""
        if not self.system.is_true("select not exists (select from event_store.deadlines)"):
            return False
        status = counterflow("status", "--json")
        return not status.returncode and all(entry["lagEvents"] == 0 for entry in json.loads(status.stdout)["generations"])

    def compare(self):
        self.verdict.compare("everything has come to rest", True, self.is_settled)
        compare_shop(self.shop, self.verdict)
        compare_mails(self.shop, self.mails, self.verdict)
        # Reactors may still be sharing the partitions of those that the last attack has killed.
        self.verdict.compare_command("status", 120)
        self.verdict.compare_command("verify", 0)


class ShortRun(ReactionsRun):
    """The run of reactions with attacks on every kind of process, and a reader; compares the orders too."""

    replicas = "projector=3"
    result = "Nothing was lost, doubled or changed, and every reaction took effect exactly once."

    def run_shop(self):
        self.reader = Reader(self.system, lambda: self.shop.acknowledged)
        taken = super().run_shop()
        self.reader.finish()
        say(f"meanwhile {self.reader.reads} orders were read; {self.reader.repeats} of these queries were repeated")
        return taken

    def compare(self):
        self.verdict.compare("acknowledged orders", self.options.orders, len(self.shop.acknowledged))
        compare_orders(self.system, self.verdict, self.shop.acknowledged, self.reader)
        super().compare()


KINDS = {
    "default": Kind(DefaultRun, 60, 2000, 16),
    "hot": Kind(HotRun, 180),
    "projectors": Kind(ProjectorsRun, 300, clients=16),
    "reactions": Kind(ReactionsRun, 300, 20000),
    "short": Kind(ShortRun, 60, 400),
}
