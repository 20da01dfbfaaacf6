"""Terms that the project has replaced (docs/glossary.md) do not come back."""

import re

from .tree import prose

# Nowhere: neither in pages nor in code.
RETIRED = {
    r"\bincarnations?\b": "history id",
    r"\bcrews?\b": "worker group",
    r"\bholes?\b": "gap",
    r"\bmend(s|ed|ing)?\b": "repair",
    r"\btak(e|es|ing) turns\b": "contention lock",
    r"\baside\b": "suspended",
    r"\banswers? (of|to) (a|the|its) commands?\b": "response",
}
# Not in pages. Code has meanings of its own for some of these words.
RETIRED_IN_PAGES = {
    r"\bguards\b": "expected versions",
    r"\(projection, partition\) pairs?\b": "partition assignment",
    r"\b(is|are|was|were|be|been) told\b": "the verb of who sends what",
    r"\b(hold|holds|holding|held) (up|back)\b": "delay, block or stop",
}
SOURCES = (".swift", ".sql", ".yaml", ".yml", ".py", ".bash", ".html", ".js")
# It tells what was called how.
HISTORY = "CHANGELOG.md"
# The tables of these pages have texts of the code; tests compare them.
FROM_CODE = {"docs/configuration.md", "docs/operations.md"}


def check(tree):
    found = []
    for page in tree.pages():
        if page != HISTORY:
            found += findings(page, prose(tree.read(page)), RETIRED)
            found += findings(page, own_lines(tree, page), RETIRED_IN_PAGES)
    for path in code_files(tree):
        found += findings(path, enumerate(tree.read(path).splitlines(), 1), RETIRED)
    return found


def own_lines(tree, page):
    return [(number, line) for number, line in prose(tree.read(page)) if page not in FROM_CODE or not line.startswith("| ")]


def code_files(tree):
    """Returns the sources and scripts, without these checks, which name the terms."""
    scripts = [path for path in tree.files("", under="scripts") if "." not in path]
    return [path for path in tree.files(*SOURCES) + scripts if not path.startswith("scripts/lib/docs/")]


def findings(path, numbered, terms):
    patterns = [(re.compile(pattern, re.I), better) for pattern, better in terms.items()]
    for number, line in numbered:
        for pattern, better in patterns:
            if match := pattern.search(line):
                yield f"{path}:{number}: '{match[0]}' is retired: {better}"
