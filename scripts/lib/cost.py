"""Measures what the whole system spends over a time: CPU by process and by PostgreSQL's clients, transactions, tuples and messages.
Prints one JSON object.

cost.py RUN_DIR SECONDS

The counts are those of SECONDS, the CPU that of 11 s less, since the counts must settle before and after. RUN_DIR has the files
NAME.pid of the processes. PostgreSQL is reached with psql's variables (PGHOST, PGPORT, PGUSER, PGPASSWORD),
the broker by MANAGEMENT_URL. Sources: /proc/PID/stat, pg_stat_activity, pg_stat_database, pg_stat_wal, pg_stat_user_tables, and
the broker's count of published messages.
"""

import base64
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request

SETTLING = 5.5
run_dir, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
if seconds < 2 * SETTLING + 1:
    sys.exit(f"cost.py: {seconds:.0f} s leave no time to measure; give at least 12")
TICK = os.sysconf("SC_CLK_TCK")
DATABASES = ["counterflow_write", "counterflow_read"]


def sql(database, text):
    out = subprocess.run(
        ["psql", "-X", "-At", "-F", "\t", "-d", database, "-c", text], check=True, capture_output=True, text=True
    ).stdout
    return [line.split("\t") for line in out.splitlines()]


def ticks(pid):
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0
    return int(fields[11]) + int(fields[12])


def family(pid):
    """Returns the ids of the process and all its descendants."""
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [pid] + [one for child in children for one in family(child)]


def processes():
    """Returns the CPU ticks of every process of the system, by (name, pid)."""
    found = {}
    for file in run_dir.glob("*.pid"):
        name = re.sub(r"-\d+$", "", file.stem)
        who = {}
        if name == "postgres":
            activity = "select pid, application_name from pg_stat_activity where pid <> pg_backend_pid() and application_name not in ('', 'psql')"
            who = {pid: f"postgres for {application.split(' ')[0]}" for pid, application in sql("postgres", activity)}
        for pid in family(file.read_text().strip()):
            found[who.get(pid, name), pid] = ticks(pid)
    return found


def messages():
    url = urllib.parse.urlsplit(os.environ["MANAGEMENT_URL"])
    request = urllib.request.Request(f"http://{url.hostname}:{url.port}/api/overview")
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{url.username}:{url.password}".encode()).decode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer).get("message_stats", {}).get("publish", 0)


def head():
    return int(sql("counterflow_write", "select coalesce(max(position), 0) from event_store.events")[0][0])


def counts():
    found = {"messages": messages(), "events": head()}
    for database in DATABASES:
        (row,) = sql(
            database,
            "select xact_commit, (select sum(n_tup_ins) from pg_stat_user_tables), (select sum(n_tup_upd) from pg_stat_user_tables)"
            " from pg_stat_database where datname = current_database()",
        )
        found.update({f"{database} {name}": int(value) for name, value in zip(("commits", "inserted", "updated"), row)})
    found["wal syncs"] = int(sql("postgres", "select wal_sync from pg_stat_wal")[0][0])
    return found


def settled_counts():
    """Waits first: backends report their counts at most once a second, the broker every five seconds."""
    time.sleep(SETTLING)
    return counts()


before_counts = settled_counts()
before, begun, first = processes(), time.monotonic(), head()
time.sleep(seconds - 2 * SETTLING)
after, elapsed, last = processes(), time.monotonic() - begun, head()
after_counts = settled_counts()

cpu = {}
for key, value in after.items():
    cpu[key[0]] = cpu.get(key[0], 0) + (value - before.get(key, 0)) / TICK
json.dump(
    {
        "seconds": elapsed,
        "events": last - first,
        "cpu": {name: round(spent / elapsed, 4) for name, spent in sorted(cpu.items())},
        "counts": {name: after_counts[name] - before_counts[name] for name in after_counts},
    },
    sys.stdout,
)
