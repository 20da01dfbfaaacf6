"""The system under attack, as scripts/up has started it: its processes, its write store, its API."""

import http.client
import json
import os
import subprocess
import threading
import time
import urllib.parse
from pathlib import Path

LOCAL = Path(os.environ["COUNTERFLOW_LOCAL"])
STORE = urllib.parse.urlsplit(os.environ["WRITE_DATABASE_URL"])
# How long anything may take until it is given up.
PATIENCE = 900


def say(text):
    print(text, flush=True)


def wait_until(condition, bound=PATIENCE):
    end = time.monotonic() + bound
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def process_id(name):
    """The id of a process under its supervisor; None while it does not run."""
    try:
        process = int((LOCAL / f"run/{name}.pid").read_text())
        os.kill(process, 0)
        return process
    except (OSError, ValueError):
        return None


def signal_process(process, number):
    """Returns whether the process was there."""
    try:
        os.kill(process, number)
        return True
    except ProcessLookupError:
        return False


def rows(query):
    """The rows of a query on the write store, as lists of text."""
    # The password is not in the arguments.
    settings = {"PGHOST": STORE.hostname, "PGPORT": str(STORE.port), "PGUSER": STORE.username, "PGPASSWORD": STORE.password}
    result = subprocess.run(
        ["psql", "-X", "-q", "-At", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", STORE.path[1:], "-c", query],
        env={**os.environ, **settings}, capture_output=True, text=True, timeout=120)
    if result.returncode:
        raise ConnectionError(result.stderr)
    return [line.split("\t") for line in result.stdout.splitlines()]


def value(query):
    return rows(query)[0][0]


def succeeds(query):
    """Whether the query's answer is true; false also if PostgreSQL does not answer."""
    try:
        return value(query) == "t"
    except (ConnectionError, subprocess.TimeoutExpired):
        return False


def counterflow(*arguments):
    return subprocess.run(["counterflow", *arguments], capture_output=True, text=True)


def wait_until_ready():
    """Returns once every partition of the reactions has an owner: they react to what happens from then on."""
    owned = """select count(distinct projection) = 3 and bool_and(owner is not null)
               from projections.checkpoints where projection like 'reaction/%'"""
    if not wait_until(lambda: succeeds(owned)):
        raise TimeoutError("the reactors have not begun")


def has_settled():
    if not succeeds("select not exists (select from event_store.deadlines)"):
        return False
    status = counterflow("status", "--json")
    if status.returncode:
        return False
    return all(entry["lagEvents"] == 0 for entry in json.loads(status.stdout)["generations"])


def settle():
    """Waits until no deadline is left, no stream is parked and all projections have caught up."""
    return wait_until(has_settled)


class API(threading.local):
    """A connection for each thread to one of the two services."""

    def __init__(self, url):
        self.host = urllib.parse.urlsplit(url).netloc
        self.connection = None

    def send(self, method, path, body=None, key=None):
        """The status and the JSON of the response; None if there is none."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.host, timeout=40)
        headers = {"Content-Type": "application/json", "Idempotency-Key": key} if key else {}
        try:
            self.connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = self.connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            self.connection.close()
            self.connection = None
            return None


commands = API(os.environ["COMMAND_URL"])
queries = API(os.environ["QUERY_URL"])
