"""The system under attack, as scripts/up starts it: its processes, its stores, its API."""

import http.client
import json
import os
import signal
import subprocess
import threading
import urllib.parse

from .shell import LOCAL, WORK, Failure, bash, output_of, run_script, wait_until


class System:
    def start(self, replicas):
        """Starts the system on free ports, without the data of the last run. replicas is as with scripts/up."""
        os.environ.update(COMMAND_PORT=output_of("free_port"), QUERY_PORT=output_of("free_port"))
        run_script("up", "--detach", "--replicas", replicas)
        os.environ.update(environment_of_the_system())
        self.store = urllib.parse.urlsplit(os.environ["WRITE_DATABASE_URL"])
        self.commands, self.queries = API(os.environ["COMMAND_URL"]), API(os.environ["QUERY_URL"])
        WORK.mkdir(exist_ok=True)

    @staticmethod
    def start_service(name, executable, role, **settings):
        """Starts one more process of a service, which is supervised as the others are."""
        bash('binaries=$(dirname "$(command -v counterflow)"); start_service "$@"',
             name, executable, role, *(f"{key}={value}" for key, value in settings.items()), check=True)

    def rows(self, query):
        """The rows of a query on the write store, as lists of text."""
        # The password is not in the arguments.
        settings = {
            "PGHOST": self.store.hostname, "PGPORT": str(self.store.port),
            "PGUSER": self.store.username, "PGPASSWORD": self.store.password}
        result = subprocess.run(
            ["psql", "-X", "-q", "-At", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", self.store.path[1:], "-c", query],
            env={**os.environ, **settings}, capture_output=True, text=True, timeout=120)
        if result.returncode:
            raise ConnectionError(result.stderr)
        return [line.split("\t") for line in result.stdout.splitlines()]

    def value(self, query):
        return self.rows(query)[0][0]

    def count(self, query):
        return int(self.value(query))

    def is_true(self, query):
        """Whether the query's result is true; false also if PostgreSQL does not answer."""
        try:
            return self.value(query) == "t"
        except (ConnectionError, subprocess.TimeoutExpired):
            return False

    def is_postgres_ready(self):
        return self.is_true("select true")

    def wait_for_postgres(self):
        if not wait_until(self.is_postgres_ready, 60):
            raise Failure("PostgreSQL did not come back")


def environment_of_the_system():
    """What scripts/up wrote for those who use the system: URLs, and the PATH of counterflow."""
    # Secrets go through the pipe, not through arguments.
    lines = subprocess.run(
        ["bash", "-c", '. "$1" && env -0', "chaos", LOCAL / "env"], stdout=subprocess.PIPE, text=True, check=True)
    known = dict(line.partition("=")[::2] for line in lines.stdout.split("\0") if line)
    names = ["COMMAND_URL", "QUERY_URL", "WRITE_DATABASE_URL", "READ_DATABASE_URL", "AMQP_URL", "PATH"]
    return {name: known[name] for name in names}


def process_id(name):
    """The id of a process under its supervisor; None while it does not run."""
    try:
        process = int((LOCAL / f"run/{name}.pid").read_text())
        os.kill(process, 0)
        return process
    except (OSError, ValueError):
        return None


def names_like(pattern):
    """The names of the processes that match a pattern such as reactor-*."""
    return sorted(path.stem for path in (LOCAL / "run").glob(f"{pattern}.pid"))


def signal_process(process, number):
    """Returns whether the process was there."""
    try:
        os.kill(process, number)
        return True
    except ProcessLookupError:
        return False


def end_service(name):
    """Ends a process and its supervisor; returns whether there was one."""
    try:
        supervisor = int((LOCAL / f"run/{name}.supervisor").read_text())
    except (OSError, ValueError):
        return False
    found = signal_process(supervisor, signal.SIGTERM)
    # It cannot end while it is stopped.
    if process := process_id(name):
        signal_process(process, signal.SIGCONT)
    return found


def is_supervised(name):
    return (LOCAL / f"run/{name}.supervisor").exists()


def counterflow(*arguments):
    command = ["counterflow", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired as error:
        return subprocess.CompletedProcess(command, 124, "", str(error))


def serving():
    """What `counterflow status` says of each serving generation; None while it says nothing."""
    status = counterflow("status", "--json")
    try:
        return [entry for entry in json.loads(status.stdout)["generations"] if entry["state"] == "serving"]
    except (ValueError, KeyError):
        return None


class API(threading.local):
    """A connection for each thread to one of the two services."""

    def __init__(self, url):
        self.host = urllib.parse.urlsplit(url).netloc
        self.connection = None

    def exchange(self, method, path, body=None, key=None):
        """The response's status, body and headers; None if there is none."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.host, timeout=40)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if key:
            headers["Idempotency-Key"] = key
        try:
            self.connection.request(method, path, body, headers)
            response = self.connection.getresponse()
            return response.status, response.read().decode(), response.headers
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection = None
            return None

    def send(self, method, path, body=None, key=None):
        """The status and the JSON of the response; None if there is none."""
        answer = self.exchange(method, path, None if body is None else json.dumps(body), key)
        try:
            return answer and (answer[0], json.loads(answer[1]))
        except ValueError:
            return answer[0], {}
