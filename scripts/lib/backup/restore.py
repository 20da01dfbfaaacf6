"""A restore: a new data folder that PostgreSQL recovers when it starts."""

import os
import shutil
from pathlib import Path

from .folder import check_space, give_to, size_of
from .server import Failure

STEPS = """\
{target} is ready. Next:
 1. Stop every command-service, relay and reactor, and the old server if it still runs.
 2. Start PostgreSQL on {target}, as the user who owns that folder:
      {start}
    It replays the WAL {until}. Wait until this prints f:
      psql URL -Atc 'select pg_is_in_recovery()'
    If the server ends with "recovery ended before configured recovery target was reached", nothing was committed after
    that time, or its WAL is not in {folder}: restore into a new folder with --latest instead.
 3. Only if this is the write store: counterflow restore-finished
 4. Start command-service, relay and reactor, then: counterflow status
    It names the read models that are ahead (forked). For each: counterflow rebuild NAME
 5. counterflow verify
 6. This server archives nothing yet, and waits for no standby. If it stays in use:
      scripts/backup configure {folder}
    Then restart it, run scripts/backup base {folder}, and set synchronous_standby_names again once it has a standby."""


def chosen(folder, time, timeline):
    """Returns the newest backup from which recovery can reach the time on the timeline; without a time, its end."""
    for base in reversed(folder.backups()):
        if folder.leads(base, timeline) and (time is None or base.finished <= time):
            return base
    oldest = min((base.finished for base in folder.backups()), default=None)
    raise Failure(
        f"no backup of timeline {timeline} was finished by {time}"
        + (f"; the oldest was finished at {oldest.isoformat()}" if oldest else f": {folder.path} has no base backup")
    )


def restore(folder, target, time, timeline):
    """Makes the data folder TARGET from a backup. PostgreSQL replays the WAL up to the time when it starts."""
    target = Path(target).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Failure(f"{target} is not empty: nothing is overwritten. Name a new folder, or move this one away")
    if target == folder.path or folder.path in target.parents:
        raise Failure(f"{target} is inside the folder of the backups: name another one")
    timeline = timeline or folder.newest_timeline()
    base = chosen(folder, time, timeline)
    gaps = folder.gaps(base, timeline)
    if gaps:
        print(f"WAL is missing: {', '.join(gaps[:5])}. The restore ends before the first gap.")
    target.parent.mkdir(parents=True, exist_ok=True)
    check_space(target.parent, size_of(base.data) + (256 << 20), "the restore")
    base.verify()
    target.mkdir(exist_ok=True)
    # PostgreSQL does not start without this file. It comes last, so a copy that broke off cannot be started.
    control = Path("global/pg_control")
    shutil.copytree(
        base.data, target, symlinks=True, dirs_exist_ok=True,
        ignore=lambda path, names: [control.name] if Path(path) == base.data / control.parent else [],
    )
    with open(target / "postgresql.auto.conf", "a") as settings:
        settings.write("\n".join(recovery_settings(folder, base, time, timeline)) + "\n")
    (target / "recovery.signal").touch()
    target.chmod(0o700)
    os.sync()
    shutil.copy2(base.data / control, target / control)
    give_to(target, folder.wal)
    os.sync()
    until = f"up to {time.isoformat()}" if time else "to its end"
    print(f"The backup {base.name} is verified and copied.")
    start = f"pg_ctl -D {target} -w start"
    if not (target / "postgresql.conf").exists():
        start = f"with its configuration, which is elsewhere (Debian: /etc/postgresql): set data_directory = '{target}' there"
    print(STEPS.format(target=target, start=start, folder=folder.path, until=until))


def recovery_settings(folder, base, time, timeline):
    yield "# Of scripts/backup restore."
    yield from (f"{name} = {value}" for name, value in base.about["settings"].items())
    yield f"restore_command = 'cp {folder.wal}/%f %p'"
    yield f"recovery_target_time = '{time.isoformat() if time else ''}'"
    yield f"recovery_target_timeline = '{timeline}'"
    yield "recovery_target_action = 'promote'"
    # So that a practice restore writes nothing into the archive of the server that runs.
    yield "archive_mode = 'off'"
    # The standby of the old server is not this server's: without it, every commit would wait.
    yield "synchronous_standby_names = ''"
