"""The folder of backups: base/NAME has a base backup each, wal the write-ahead log that the server archived.

base/NAME/data is the backup as pg_basebackup wrote it, base/NAME/about.json says when it was finished and from which
server it is. A folder whose name ends in .new or .removed is not a backup.
"""

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
        found = [Base(path) for path in self.bases.glob("*") if path.suffix not in (".new", ".removed")]
        return sorted(found, key=lambda base: base.finished)

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

    def newest_segment(self):
        files = [path for path in self.wal.iterdir() if SEGMENT.fullmatch(path.name)]
        return max(files, key=lambda path: path.stat().st_mtime, default=None)

    def gaps(self, base):
        """Returns the segments that a restore of that backup needs and that are missing."""
        found, size = self.segments()
        first = number(base.first_segment, size)
        return [
            f"segment {value:#x} of timeline {timeline}"
            for timeline, numbers in sorted(found.items())
            if timeline >= base.timeline and (kept := {value for value in numbers if value >= first})
            for value in range(first if timeline == base.timeline else min(kept), max(kept) + 1)
            if value not in kept
        ]

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


def size_of(folder):
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def check_space(folder, needed, what):
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Failure(f"{what} needs {needed >> 20} MB, and {folder} has {free >> 20} MB free")


def now():
    return datetime.now(timezone.utc)


def give_to(path, owner):
    """As root, gives the path and all in it to the owner of another path: the user that runs PostgreSQL."""
    if os.geteuid() != 0:
        return
    status = owner.stat()
    for each in [path, *path.rglob("*")]:
        os.lchown(each, status.st_uid, status.st_gid)
