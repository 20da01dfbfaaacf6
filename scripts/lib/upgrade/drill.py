"""A system of the previous release that is upgraded under load."""

import collections
import json
import os
import signal
import subprocess
import time
import urllib.request

from chaos.order_oracle import lists, unreadable
from chaos.orders import Orders, Reader
from chaos.shell import LOCAL, WORK, Failure, bash, run_script, say, wait_until
from chaos.system import System, end_service, is_supervised
from chaos.verdict import Verdict

from . import releases
from .clients import Gateway

# In the order of docs/operations.md: those that must know new event types first.
ROLES = {
    "projector": "projector", "reactor": "reactor", "query-service": "query", "command-service": "command",
    "relay": "relay"}
REPLICAS = 2
# One response in so many may be 5xx.
BOUND = 1000
# One of those to loadtest: it also asks processes that are not ready, as no gateway does.
BOUND_OF_LOAD = 100
# How long a process may take to end or to start, in seconds.
PATIENCE = 60
# What /readyz of a release that does not say its version says.
UNKNOWN = "a release without a version"


class Drill:
    def __init__(self, options):
        self.options, self.system, self.verdict = options, System(), Verdict()

    def run(self):
        """Returns the exit status."""
        try:
            self.prepare()
            self.upgrade()
            self.compare()
        except (Failure, OSError, subprocess.SubprocessError) as failure:
            self.verdict.failures += 1
            say(f"failed: {failure}")
        finally:
            run_script("down", "--quiet")
        return 1 if self.verdict.failures else 0

    def prepare(self):
        folder = self.options.previous
        previous = releases.checked(folder) if folder else releases.previous(self.options.ref)
        run_script("reset")
        self.new = releases.ours()
        os.environ["COUNTERFLOW_BINARIES"] = str(previous)
        self.system.start(",".join(f"{service}={REPLICAS}" for service in ROLES))
        del os.environ["COUNTERFLOW_BINARIES"]
        # The URLs are those of the first replicas; the others' are in files.
        self.urls = {path.stem: path.read_text().strip() for path in (LOCAL / "run").glob("*.url")}
        self.system.commands = Gateway(self.urls_of("command-service"))
        self.system.queries = Gateway(self.urls_of("query-service"))
        os.environ["PATH"] = f"{self.new}:{os.environ['PATH']}"

    def urls_of(self, service):
        return [self.urls[f"{service}-{number + 1}"] for number in range(REPLICAS)]

    def upgrade(self):
        self.orders = Orders(self.system, "upgrade", clients=8, rate=self.options.rate)
        self.orders.register()
        self.orders.start()
        reader = Reader(self.system, lambda: list(self.orders.acknowledged))
        load = self.begin_load()
        try:
            say(f"load on the previous release: {self.options.rate} orders and journeys per second")
            time.sleep(5)
            self.migrate()
            self.replace(1)
            self.compare_versions("both versions run", len(ROLES), self.options.seconds)
            self.verdict.compare_command("status", 60)
            self.replace(2)
            self.compare_versions("the new version runs", len(ROLES) * REPLICAS, 5)
        finally:
            has_ended = end_load(load)
        if not has_ended:
            raise Failure(f"loadtest did not end within {PATIENCE} s; see {WORK}/loadtest")
        self.orders.finish()
        reader.finish()
        self.verdict.compare("orders were read meanwhile", True, reader.reads > 0)
        self.verdict.none_of("unexpected responses to the reader", reader.unexpected)
        self.verdict.none_of("unexpected responses to the clients", self.orders.unexpected)

    def begin_load(self):
        """Whole lives of orders, until it is ended."""
        arguments = ["checkout", "--rate", str(self.options.rate), "--duration", "86400", "--warm-up", "0",
                     "--commands", ",".join(self.urls_of("command-service")),
                     "--queries", ",".join(self.urls_of("query-service")), "--json", str(WORK / "report")]
        with open(WORK / "loadtest", "w") as log:
            return subprocess.Popen([self.new / "loadtest", *arguments], stdout=log, stderr=log)

    def migrate(self):
        result = subprocess.run([self.new / "counterflow", "migrate"], capture_output=True, text=True, timeout=300)
        if result.returncode:
            raise Failure(f"counterflow migrate: {result.stdout}{result.stderr}")
        say("the new version has migrated:")
        for line in result.stdout.splitlines():
            say(f"  {line}")

    def replace(self, number):
        """Replaces one replica of each service, at the same port."""
        for service, role in ROLES.items():
            name = f"{service}-{number}"
            port = self.urls[name].rsplit(":", 1)[1]
            gateway = {"command-service": self.system.commands, "query-service": self.system.queries}.get(service)
            if gateway:
                gateway.absent.add(number - 1)
            end_service(name)
            if not wait_until(lambda: not is_supervised(name), 40):
                raise Failure(f"{name} did not end")
            bash('binaries=$1; shift; start_service "$@"', str(self.new), name, service, role, f"HTTP_PORT={port}",
                 f"CONSOLE_PROCESSES={LOCAL}/run", check=True, timeout=PATIENCE)
            if not wait_until(lambda: readiness(self.urls[name]) is not None, 60):
                raise Failure(f"{name} is not ready; see {LOCAL}/log/{name}.log")
            if gateway:
                gateway.absent.remove(number - 1)
            say(f"replaced {name}")

    def compare_versions(self, what, expected, seconds):
        """Lets both versions run, and expects that so many processes are of the new one."""
        versions = collections.Counter(
            (readiness(url) or {}).get("version", UNKNOWN) for url in self.urls.values())
        say(f"{what}, for {seconds} s: " + ", ".join(f"{count} × {version}" for version, count in versions.items()))
        own = subprocess.run(
            [self.new / "counterflow", "--version"], capture_output=True, text=True, timeout=PATIENCE).stdout.strip()
        if versions[own] < expected:
            self.verdict.compare(f"processes of version {own}", expected, versions[own])
        time.sleep(seconds)
        not_ready = [name for name, url in self.urls.items() if readiness(url) is None]
        self.verdict.none_of("processes that are not ready", not_ready)

    def compare(self):
        acknowledged = self.orders.acknowledged
        say(f"compared: {len(acknowledged)} acknowledged orders")
        self.verdict.all_of(
            "acknowledged orders readable with the right total", acknowledged, unreadable(self.system, acknowledged))
        listed = collections.Counter(lists(self.system, {order.customer for order in acknowledged}))
        self.verdict.compare("of these, listed once for their customers", len(acknowledged),
                             sum(listed[(order.customer, order.id)] == 1 for order in acknowledged))
        placed = "from event_store.events where type = 'OrderPlaced' and stream like 'order-chaos-%'"
        self.verdict.compare("their OrderPlaced events", len(acknowledged), self.system.count(f"select count(*) {placed}"))
        self.verdict.compare_positions(self.system)
        for name, gateway in (("command-service", self.system.commands), ("query-service", self.system.queries)):
            total = sum(gateway.answers.values())
            say(f"  {name}: {gateway.answers[None]} of {total} requests went unanswered and to the other replica")
            self.verdict.compare(f"{name}: at most one response in {BOUND} is 5xx ({gateway.failed()})",
                                 True, gateway.failed() * BOUND <= total)
        total, failed = report_of_load()
        self.verdict.compare(f"loadtest: at most one in {BOUND_OF_LOAD} is 5xx ({failed} of {total})",
                             True, total > 0 and failed * BOUND_OF_LOAD <= total)
        self.verdict.compare_command("status", 120)
        self.verdict.compare_command("verify", 120)


def end_load(load):
    """Interrupted, loadtest reports what it has measured. Returns whether it has ended by itself."""
    load.send_signal(signal.SIGINT)
    try:
        return wait_until(lambda: load.poll() is not None, PATIENCE)
    finally:
        load.kill()
        load.wait()


def report_of_load():
    """How many responses loadtest has had, and how many of them were 5xx. Its other errors are connections to the replica
    that was being replaced."""
    operations = [operation for result in json.loads((WORK / "report").read_text())["trials"]
                  for operation in result["operations"]]
    errors = collections.Counter()
    for operation in operations:
        errors.update(operation["errors"])
    for reason, count in errors.items():
        say(f"  loadtest: {count} times {reason}")
    answered = sum((operation.get("latency") or {}).get("count", 0) for operation in operations)
    failed = sum(count for reason, count in errors.items() if reason.startswith("HTTP 5"))
    return answered + failed, failed


def readiness(url):
    """What /readyz says; None if the process is not ready."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:
            return json.load(response)
    except (OSError, ValueError):
        return None
