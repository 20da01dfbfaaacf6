"""What scripts/backup does to a server and its folder."""

import json
import os
import re
import shutil
import time
from datetime import datetime
from pathlib import Path

from .folder import check_space, give_to, install, now, sync
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
    # On disk before archive_command names it: as an empty file it would succeed, and PostgreSQL would remove the WAL.
    install(folder.archiver, Path(__file__).with_name("archive-wal").read_bytes(), 0o755)
    sync(folder.path)
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
        install(file, f"{text}\n".encode(), 0o600)
    elif file.read_text().split() != text.split():
        raise Failure(f"{file} is of another restore: let this server archive into a new folder")


def check(server, folder, bound):
    """Lets the server archive what it has written so far, and waits for it."""
    check_mode(server, folder)
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


def check_mode(server, folder):
    if server.query("show archive_mode") == "off":
        raise Failure(f"archive_mode is off: run scripts/backup configure {folder.path}, then restart PostgreSQL")


def base(server, folder, bound):
    """Makes a base backup, verifies it, and waits until its WAL is archived."""
    check_mode(server, folder)
    folder.check_owner(server)
    with folder.only_backup() as lock:
        final, finished = make_base(server, folder, lock)
    print(f"{final} is a verified backup.")
    # pg_basebackup does not wait for it.
    check(server, folder, bound)
    print(f"With the archived WAL, the backup restores to any time from {finished} on.")


def make_base(server, folder, lock):
    """Returns the backup's folder, and when it was finished."""
    if server.query("select count(*) from pg_tablespace where spcname not in ('pg_default', 'pg_global')") != "0":
        raise Failure("the server has tablespaces, which this script does not copy: use a tool such as pgBackRest")
    size = int(server.query("select sum(pg_database_size(oid)) from pg_database"))
    check_space(folder.bases, size + size // 10 + (256 << 20), "the backup")
    name = now().strftime("%Y%m%dT%H%M%SZ")
    final, new = folder.bases / name, folder.bases / f"{name}.new"
    if final.exists():
        raise Failure(f"{final} exists: nothing is overwritten. Run the command again")
    new.mkdir()
    try:
        options = ["-D", str(new / "data"), "-d", server.url, "-X", "stream", "-c", "fast", "--no-password"]
        server.run_tool("pg_basebackup", *options, lock=lock)
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
    sync(folder.bases)
    return final, finished


def verify(folder):
    """Verifies every backup and looks for gaps in the WAL."""
    found = folder.backups()
    if not found:
        raise Failure(f"{folder.path} has no base backup: run scripts/backup base {folder.path}")
    timeline = folder.newest_timeline()
    missing = {each.name: folder.gaps(each, timeline) for each in found if folder.leads(each, timeline)}
    complete = [each for each in found if missing.get(each.name) == []]
    for each in found:
        each.verify()
        gaps = missing.get(each.name, [])
        # A restored server archives only once it is configured. Its first backup makes up for what it wrote before.
        if gaps and not (complete and all(int(name[:8], 16) > each.timeline for name in gaps)):
            raise Failure(f"after the backup {each.name} WAL is missing: {', '.join(gaps[:5])}. Make a new base backup now")
        about = "no WAL is missing after it"
        if each not in complete:
            about = f"it restores only to times of timeline {each.timeline}, with --timeline {each.timeline}"
            if gaps := folder.gaps(each, each.timeline):
                about += f", up to a gap: {', '.join(gaps[:5])}"
        print(f"{each.name}: every file is as it was backed up, and {about}")
    if not complete:
        raise Failure(f"no backup leads to the newest timeline, {timeline}: make a new base backup now")
    newest = folder.newest_segment(timeline)
    at = datetime.fromtimestamp(newest.stat().st_mtime).astimezone().isoformat(timespec="seconds")
    first = complete[0].finished.isoformat()
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
        # After a restore to an earlier time, an older backup may begin at a later position than a newer one. The timeline
        # in the name does not count, as with pg_archivecleanup.
        first = min((each.first_segment for each in kept), key=lambda name: name[8:])
        run([tool("pg_archivecleanup", kept[-1].about["major"]), str(folder.wal), first])
    names = [", ".join(each.name for each in some) or "none" for some in (removed, kept)]
    print(f"removed: {names[0]}; kept: {names[1]}")
