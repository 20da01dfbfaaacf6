"""The server that is backed up, and PostgreSQL's own tools."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import unquote


# In seconds. PostgreSQL's own default for connecting is to wait for ever.
CONNECT_TIMEOUT = "10"
QUERY_TIMEOUT = 60


class Failure(Exception):
    """A command cannot be carried out; the text says what to change."""


def tool(name, major):
    """Returns the path of a PostgreSQL tool in that major version."""
    chosen = os.environ.get("PG_BIN")
    folders = [chosen] if chosen else [f"/usr/lib/postgresql/{major}/bin", *os.environ.get("PATH", "").split(":")]
    for folder in folders:
        if folder and (path := shutil.which(name, path=folder)):
            return path
    raise Failure(f"there is no {name}: install PostgreSQL {major}, or set PG_BIN to the folder of its programs")


def run(command, **options):
    """Runs a program; its standard error is the error."""
    result = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    if result.returncode:
        raise Failure(f"{Path(command[0]).name} failed: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout.strip()


class Server:
    """A PostgreSQL server. Its password goes to programs in their environment, never in their arguments."""

    def __init__(self, argument):
        given = argument or os.environ.get("WRITE_DATABASE_URL")
        if not given:
            raise Failure("there is no server: give --server postgres://USER@HOST:PORT/DATABASE, or set WRITE_DATABASE_URL")
        parts = re.fullmatch(r"(postgres(?:ql)?://)(?:([^:@/]*)(?::([^@/]*))?@)?([^@]*)", given)
        if not parts or re.search(r"[?&]password=", given):
            raise Failure("the server must be a URL such as postgres://USER@HOST:PORT/DATABASE, without a password in its query")
        scheme, user, password, rest = parts.groups()
        if password and argument:
            raise Failure(
                "everybody on this machine can read the arguments of a process: leave the password out of --server, "
                "and set PGPASSWORD, PGPASSFILE or WRITE_DATABASE_URL"
            )
        self.url = scheme + (f"{user}@" if user else "") + rest
        self.environment = {"PGCONNECT_TIMEOUT": CONNECT_TIMEOUT} | os.environ
        if password:
            self.environment["PGPASSWORD"] = unquote(password)
        self.major = int(self.query("show server_version_num")) // 10_000
        self.system = self.query("select system_identifier from pg_control_system()")

    def query(self, sql):
        """Runs SQL and returns the first column of the first row as text."""
        psql = shutil.which("psql") or tool("psql", "")
        command = [psql, "-X", "-q", "-At", "--no-password", "-v", "ON_ERROR_STOP=1", "-d", self.url, "-c", sql]
        try:
            return run(command, env=self.environment, timeout=QUERY_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise Failure(
                f"the server did not answer within {QUERY_TIMEOUT} s: {sql}. Check that it is not stopped or out of disk space, "
                "and that the network and the disk respond"
            ) from None

    def set(self, name, value):
        """Sets a parameter for good. Names and values are those of this program, never input."""
        self.query(f"alter system set {name} = '{value}'")

    def run_tool(self, name, *arguments, lock):
        """Runs a tool that may start processes of its own. They end with this program; until they have, the lock is held."""
        command = [tool(name, self.major), *arguments]
        process = subprocess.Popen(
            command, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, pass_fds=[lock.fileno()],
        )
        try:
            output, _ = process.communicate()
        except BaseException:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            raise
        if process.returncode:
            raise Failure(f"{name} failed: {output.strip()}")
