"""The server that is backed up, and PostgreSQL's own tools."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote


class Failure(Exception):
    """What was asked for cannot be done; the text says what to change."""


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
        self.environment = os.environ | ({"PGPASSWORD": unquote(password)} if password else {})
        self.major = int(self.query("show server_version_num")) // 10_000
        self.system = self.query("select system_identifier from pg_control_system()")

    def query(self, sql):
        """Runs SQL and returns the first column of the first row as text."""
        psql = shutil.which("psql") or tool("psql", "")
        return run([psql, "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", self.url, "-c", sql], env=self.environment)

    def set(self, name, value):
        """Sets a parameter for good. Names and values are those of this program, never input."""
        self.query(f"alter system set {name} = '{value}'")

    def run_tool(self, name, *arguments):
        return run([tool(name, self.major), *arguments], env=self.environment)
