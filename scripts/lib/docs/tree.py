"""The files of a checkout, and the parts of a Markdown page."""

import os
import re
from pathlib import Path

# Hidden folders hold builds and data, except these.
HIDDEN = {".ci", ".github"}
FENCE = re.compile(r"^\s*(```|~~~)")
SPAN = re.compile(r"`[^`\n]+`")


class Tree:
    def __init__(self, root):
        self.root = Path(root)

    def files(self, *suffixes, under="."):
        """Returns the paths, relative to the root, of the files with one of the suffixes."""
        found = []
        for folder, folders, names in os.walk(self.root / under):
            folders[:] = [f for f in folders if (not f.startswith(".") or f in HIDDEN) and f != "__pycache__"]
            found += [os.path.relpath(os.path.join(folder, name), self.root) for name in names if name.endswith(suffixes)]
        return sorted(found)

    def pages(self):
        return self.files(".md")

    def read(self, path):
        return (self.root / path).read_text(encoding="utf-8")

    def write(self, path, text):
        (self.root / path).write_text(text, encoding="utf-8")

    def exists(self, path):
        return (self.root / path).exists()


def lines(text):
    """Yields the number of each line, whether it is in a code block, and the line. Fences are left out."""
    is_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if FENCE.match(line):
            is_code = not is_code
        else:
            yield number, is_code or line.startswith("    "), line


def prose(text):
    """Yields the number and the text of each line outside code blocks, without code spans."""
    for number, is_code, line in lines(text):
        if not is_code:
            yield number, SPAN.sub("", line)


def code(text):
    """Yields the line number and the text of each line of code and of each code span."""
    for number, is_code, line in lines(text):
        for part in [line] if is_code else (span[1:-1] for span in SPAN.findall(line)):
            yield number, part


def table_cells(line):
    """Returns the cells of a row of a Markdown table; none for any other line."""
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")] if line.startswith("| ") else []
