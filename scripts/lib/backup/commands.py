"""What scripts/backup does to a server and its folder."""

import json
import os
import re
import shutil
import time
from datetime import datetime
from pathlib import Path

from .folder import check_space, give_to, now
from .server import Failure, run, tool

# A segment is archived at least this often while something is written: the most that the loss of the server's disk takes.
ARCHIVE_TIMEOUT = "60s"
# Recovery does not start if one of these is lower than on the server, whose configuration may be in another folder.
NEEDED_SETTINGS = """
    max_connections max_worker_processes max_wal_senders max_prepared_transactions max_locks_per_transaction
""".split()


def configure(server, folder):
    """Lets the server archive its WAL into the folder."""
    folder.check_owner(server)
    # If the folder is not mounted, the exit status is 1. PostgreSQL does not count the 127 of a missing program as a failure.
    command = f"test -x {folder.archiver} && {folder.archiver} %p %f"
    current = server.query("select setting from pg_settings where name = 'archive_command'")
    if server.query("show archive_mode") != "off" and current not in ("", "(disabled)", command):
        raise Failure(f"the server archives already, with archive_command = {current}: keep that, or set it to '' first")
    folder.bases.mkdir(parents=True, exist_ok=True)
    folder.wal.mkdir(exist_ok=True)
    folder.wal.chmod(0o700)
    new = folder.wal / ".archive-wal.new"
    shutil.copy(Path(__file__).with_name("archive-wal"), new)
    new.replace(folder.archiver)
    forget_restore(server)
    keep_history(server, folder)
    data = Path(server.query("show data_directory"))
    if os.geteuid() == 0 and data.is_dir():
        give_to(folder.wal, data)
    if server.query("show wal_level") == "minimal":
        server.set("wal_level", "replica")
    if server.query("show archive_timeout") == "0":
        server.set("archive_timeout", ARCHIVE_TIMEOUT)
    server.set("archive_command", command)
    server.set("archive_mode", "on")
    server.query("select pg_reload_conf()")
    print(f"The server runs {folder.archiver} for each file of its WAL. It must see the folder under this path, and may write there.")
    if server.query("select setting = 'on' and not pending_restart from pg_settings where name = 'archive_mode'") != "t":
        print("Restart PostgreSQL: archive_mode takes effect at a start.")
    print(f"Then: scripts/backup check {folder.path} && scripts/backup base {folder.path}")


def forget_restore(server):
    """After a restore, removes its settings: a standby would inherit them, and stop at that time too."""
    if re.fullmatch(r"cp \S+/wal/%f %p", server.query("show restore_command")):
        for name in ("restore_command", "recovery_target_time", "recovery_target_timeline", "recovery_target_action"):
            server.query(f"alter system reset {name}")


def keep_history(server, folder):
    """After a restore, archives how its timeline began. The server wrote that file while it did not archive."""
    timeline = server.query("select left(pg_walfile_name(pg_current_wal_lsn()), 8)")
    name = f"{timeline}.history"
    text = int(timeline, 16) > 1 and server.query(f"select pg_read_file('pg_wal/{name}', 0, 1000000, true)")
    if not text:
        return
    file = folder.wal / name
    if not file.exists():
        new = folder.wal / f".{name}.new"
        new.write_text(text + "\n")
        new.chmod(0o600)
        new.rename(file)
    elif file.read_text().split() != text.split():
        raise Failure(f"{file} is of another restore: let this server archive into a new folder")


def check(server, folder, bound):
    """Lets the server archive what it has written so far, and waits for it."""
    if server.query("show archive_mode") == "off":
        raise Failure(f"archive_mode is off: run scripts/backup configure {folder.path}, then restart PostgreSQL")
    # A commit after everything of interest: recovery finds the end of a time only by a later commit.
    server.query("select pg_current_xact_id()")
    segment = server.query("select pg_walfile_name(pg_switch_wal())")
    begun = time.monotonic()
    # A file of that name may also be another server's.
    archived = f"select coalesce(left(last_archived_wal, 24) >= '{segment}', false) from pg_stat_archiver"
    while server.query(archived) != "t" or not (folder.wal / segment).exists():
        if time.monotonic() - begun > bound:
            failed = server.query("select format('%s failures, the last of %s', failed_count, last_failed_wal) from pg_stat_archiver")
            raise Failure(
                f"{segment} was not archived within {bound} s ({failed}). The server's log has the error of archive_command; "
                f"it must be able to write to {folder.wal}"
            )
        time.sleep(0.1)
    print(f"The server archives: {segment} arrived within {time.monotonic() - begun:.1f} s.")


def base(server, folder):
    """Makes a base backup and verifies it."""
    folder.check_owner(server)
    if server.query("select count(*) from pg_tablespace where spcname not in ('pg_default', 'pg_global')") != "0":
        raise Failure("the server has tablespaces, which this script does not copy: use a tool such as pgBackRest")
    size = int(server.query("select sum(pg_database_size(oid)) from pg_database"))
    check_space(folder.bases, size + size // 10 + (256 << 20), "the backup")
    name = now().strftime("%Y%m%dT%H%M%SZ")
    final, new = folder.bases / name, folder.bases / f"{name}.new"
    if final.exists():
        raise Failure(f"{final} exists: nothing is overwritten. Run the command again")
    try:
        new.mkdir()
    except FileExistsError:
        raise Failure(f"{new} exists: another backup runs, or was killed. In that case remove the folder") from None
    try:
        server.run_tool("pg_basebackup", "-D", str(new / "data"), "-d", server.url, "-X", "stream", "-c", "fast", "--no-password")
        finished = server.query("select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"+00:00\"')")
        needed = {name: server.query(f"show {name}") for name in NEEDED_SETTINGS}
        about = {"system": server.system, "major": server.major, "finished": finished, "settings": needed}
        run([tool("pg_verifybackup", server.major), "--quiet", str(new / "data")])
        (new / "about.json").write_text(json.dumps(about) + "\n")
        give_to(new, folder.wal)
        os.sync()
    except BaseException:
        shutil.rmtree(new)
        raise
    new.rename(final)
    print(f"{final} is a verified backup. With the archived WAL, it restores to any time from {finished} on.")


def verify(folder):
    """Verifies every backup and looks for gaps in the WAL."""
    found = folder.backups()
    if not found:
        raise Failure(f"{folder.path} has no base backup: run scripts/backup base {folder.path}")
    for each in found:
        each.verify()
        gaps = folder.gaps(each)
        if gaps:
            raise Failure(f"after the backup {each.name} WAL is missing: {', '.join(gaps[:5])}. Make a new base backup now")
        print(f"{each.name}: every file is as it was backed up, and no WAL is missing after it")
    newest = folder.newest_segment()
    if not newest:
        raise Failure(f"{folder.wal} has no WAL: run scripts/backup check {folder.path}")
    at = datetime.fromtimestamp(newest.stat().st_mtime).astimezone().isoformat(timespec="seconds")
    first = found[0].finished.isoformat()
    print(f"A restore is possible to any time from {first} to about {at}, when {newest.name} was archived.")


def prune(folder, keep):
    """Removes all but the newest base backups, and the WAL from before the oldest one that stays."""
    kept, removed = folder.backups()[-keep:], folder.backups()[:-keep]
    for each in removed:
        # Under this name it is no backup any more, even if the removal is interrupted.
        each.path.rename(each.path.with_suffix(".removed"))
    for path in folder.bases.glob("*.removed"):
        shutil.rmtree(path)
    if kept:
        run([tool("pg_archivecleanup", kept[-1].about["major"]), str(folder.wal), kept[0].first_segment])
    names = [", ".join(each.name for each in some) or "none" for some in (removed, kept)]
    print(f"removed: {names[0]}; kept: {names[1]}")
