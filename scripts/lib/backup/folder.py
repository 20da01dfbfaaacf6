"""The folder of backups: base/NAME has a base backup each, wal the write-ahead log that the server archived.

base/NAME/data is the backup as pg_basebackup wrote it, base/NAME/about.json says when it was finished and from which
server it is. A folder whose name ends in .new or .removed is not a backup. base/.lock is locked while a backup is made.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
from datetime import datetime, timezone
from pathlib import Path

from .server import Failure, run, tool

SEGMENT = re.compile(r"[0-9A-F]{24}")


class Base:
    """A base backup."""

    def __init__(self, path):
        self.path, self.name, self.data = path, path.name, path / "data"
        self.about = json.loads((path / "about.json").read_text())
        self.finished = datetime.fromisoformat(self.about["finished"])
        manifest = json.loads((self.data / "backup_manifest").read_text())
        ranges = manifest["WAL-Ranges"]
        self.timeline = ranges[-1]["Timeline"]
        self.end = position(ranges[-1]["End-LSN"])
        # The first line: START WAL LOCATION: 0/2000028 (file 000000010000000000000002)
        self.first_segment = re.search(r"\(file ([0-9A-F]{24})\)", (self.data / "backup_label").read_text())[1]

    def verify(self):
        """Compares every file with the manifest, and reads the backup's own WAL."""
        run([tool("pg_verifybackup", self.about["major"]), "--quiet", self.data])


class Folder:
    def __init__(self, path, must_exist=True):
        self.path = Path(path).absolute()
        # The path becomes part of archive_command and restore_command.
        if not re.fullmatch(r"[\w/.+-]+", str(self.path), re.ASCII):
            raise Failure(f"{self.path}: the path of the backups may have letters, digits and / . _ + - only")
        self.bases, self.wal = self.path / "base", self.path / "wal"
        if must_exist and not self.wal.is_dir():
            raise Failure(f"there is no {self.wal}: mount the folder, or run scripts/backup configure {self.path} first")

    @property
    def archiver(self):
        return self.wal / "archive-wal"

    def backups(self):
        """Returns the base backups, the oldest first."""
        found = [Base(path) for path in self.bases.glob("[!.]*") if path.suffix not in (".new", ".removed")]
        return sorted(found, key=lambda base: base.finished)

    @contextlib.contextmanager
    def only_backup(self):
        """Lets no other backup be made meanwhile, and removes what is left of those that were killed. Yields the lock."""
        path = self.bases / ".lock"
        with open(path, "a") as lock:
            os.fchmod(lock.fileno(), 0o600)
            give_to(path, self.wal)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Failure(f"another backup is made in {self.bases}: wait until it has ended") from None
            for left in self.bases.glob("*.new"):
                print(f"{left} is of a backup that was killed: removed")
                shutil.rmtree(left)
            yield lock

    def check_owner(self, server):
        """One folder is for one server: two would archive different files of the same name."""
        for base in self.backups():
            if base.about["system"] != server.system:
                raise Failure(f"{self.path} has backups of another server: give each server its own folder")

    def segments(self):
        """Returns the archived segments as {timeline: {number}}, and the size of each."""
        files = [path for path in self.wal.iterdir() if SEGMENT.fullmatch(path.name)]
        sizes = {path.stat().st_size for path in files}
        if len(sizes) > 1:
            raise Failure(f"{self.wal} has segments of different sizes: {sorted(sizes)}")
        size = sizes.pop() if sizes else 16 << 20
        found = {}
        for path in files:
            found.setdefault(int(path.name[:8], 16), set()).add(number(path.name, size))
        return found, size

    def newest_segment(self, timeline):
        """Returns the file that was archived last on that timeline, or None."""
        files = [path for path in self.wal.glob(f"{timeline:08X}*") if SEGMENT.fullmatch(path.name)]
        return max(files, key=lambda path: path.stat().st_mtime, default=None)

    def leads(self, base, timeline):
        """Returns whether recovery can go from that backup to that timeline."""
        return base.timeline == timeline or base.end <= self.forks(timeline).get(base.timeline, -1)

    def gaps(self, base, timeline):
        """Returns the names of the segments that are missing between that backup and the end of a timeline it leads to."""
        found, size = self.segments()
        # Without any, not even their size is known.
        if base.timeline not in found:
            return [base.first_segment]
        forks = {} if timeline == base.timeline else self.forks(timeline)
        path = [each for each in sorted(forks) if each >= base.timeline]
        # Recovery reads the segment of a fork from the newer timeline, which has a copy of what was before the fork.
        starts = [number(base.first_segment, size), *(forks[each] // size for each in path)]
        missing = []
        for each, start, end in zip([*path, timeline], starts, [*starts[1:], None]):
            kept = found.get(each, set())
            if end is None:
                # At least the backup's own WAL must be there, or the beginning of a later timeline.
                end = max([*kept, (base.end - 1) // size if each == base.timeline else start]) + 1
            missing += [name_of(each, value, size) for value in range(start, end) if value not in kept]
        return missing

    def forks(self, timeline):
        """Returns where each timeline before that one was left: {timeline: position}."""
        if timeline == 1:
            return {}
        path = self.wal / f"{timeline:08X}.history"
        if not path.exists():
            raise Failure(f"there is no timeline {timeline}: {path} does not exist")
        lines = (line.split() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#"))
        return {int(line[0]): position(line[1]) for line in lines}

    def newest_timeline(self):
        return max([*self.segments()[0], *(int(path.stem, 16) for path in self.wal.glob("*.history"))], default=1)


def position(lsn):
    high, low = lsn.split("/")
    return int(high, 16) << 32 | int(low, 16)


def number(segment, size):
    return int(segment[8:16], 16) * ((1 << 32) // size) + int(segment[16:], 16)


def name_of(timeline, segment, size):
    return f"{timeline:08X}{segment // ((1 << 32) // size):08X}{segment % ((1 << 32) // size):08X}"


def size_of(folder):
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def check_space(folder, needed, what):
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Failure(f"{what} needs {needed >> 20} MB, and {folder} has {free >> 20} MB free")


def install(file, content, mode):
    """Writes a file that is complete and on disk before it has its name."""
    new = file.with_name(f".{file.name}.new")
    with open(new, "wb") as written:
        written.write(content)
        os.fchmod(written.fileno(), mode)
        written.flush()
        os.fsync(written.fileno())
    new.replace(file)
    sync(file.parent)


def sync(folder):
    """Waits until the names in the folder are on disk."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def now():
    return datetime.now(timezone.utc)


def give_to(path, owner):
    """As root, gives the path and all in it to the owner of another path: the user that runs PostgreSQL."""
    if os.geteuid() != 0:
        return
    status = owner.stat()
    for each in [path, *path.rglob("*")]:
        os.lchown(each, status.st_uid, status.st_gid)
