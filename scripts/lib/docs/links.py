"""Every relative link of a page leads to a file, and every anchor to a heading."""

import os
import re

from .tree import FENCE, prose

LINK = re.compile(r'\]\(([^()\s]+)(?:\s+"[^"]*")?\)|(?:src|srcset|href)="([^"\s]+)"|^\[[^\]]+\]:\s+(\S+)')


def check(tree):
    return [finding for page in tree.pages() for finding in findings(tree, page)]


def findings(tree, page):
    for number, line in prose(tree.read(page)):
        for match in LINK.finditer(line):
            link = next(filter(None, match.groups()))
            if not re.match(r"[a-z]+:", link) and (fault := fault_of(tree, page, link)):
                yield f"{page}:{number}: {link}: {fault}"


def fault_of(tree, page, link):
    path, _, anchor = link.partition("#")
    target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
    if not tree.exists(target):
        return "there is no such file"
    if anchor and target.endswith(".md") and anchor not in anchors(tree.read(target)):
        return "there is no such heading"
    return None


def anchors(text):
    """Returns the anchors that a page's headings get on GitHub."""
    found, is_code = set(), False
    for line in text.splitlines():
        is_code ^= bool(FENCE.match(line))
        if not is_code and (match := re.match(r"#{1,6}\s+(.*?)\s*#*$", line)):
            add(slug(match[1]), found)
        found.update(re.findall(r'<a (?:id|name)="([^"]+)"', line))
    return found


def add(name, found):
    number, free = 0, name
    while free in found:
        number += 1
        free = f"{name}-{number}"
    found.add(free)


def slug(heading):
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text).lower().replace(" ", "-")
