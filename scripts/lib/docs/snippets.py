"""A code block below `<!-- snippet: PATH#NAME -->` is a copy of that part of the file.

NAME is a region of the file, from a comment `snippet: NAME` to a comment `end snippet`, or a declaration at the top level of a
Swift file. `PATH#A,B` joins several parts; `PATH` alone is the whole file.
"""

import re
import textwrap

BLOCK = re.compile(r"^<!-- snippet: (?P<path>[^\s#]+)(?:#(?P<names>\S+))? -->\n+```\w*\n(?P<code>.*?)^```$", re.M | re.S)
MARKER = re.compile(r"^<!-- snippet: ", re.M)
COMMENT = r"\s*(?://|#|--) "
DECLARATION = r"(?:(?:public|package|private|final|indirect) )*(?:actor|class|enum|extension|func|protocol|struct) "


def check(tree):
    found = []
    for page in tree.pages():
        text = tree.read(page)
        blocks = list(BLOCK.finditer(text))
        if len(blocks) != len(MARKER.findall(text)):
            found.append(f"{page}: a snippet's marker has no code block below it")
        found += filter(None, (fault_of(tree, page, block) for block in blocks))
    return found


def write(tree):
    for page in tree.pages():
        text = tree.read(page)
        fresh = BLOCK.sub(lambda block: replaced(tree, block), text)
        if fresh != text:
            tree.write(page, fresh)


def fault_of(tree, page, block):
    try:
        is_same = source(tree, block) == block["code"]
    except (OSError, LookupError) as error:
        return f"{page}: the snippet of {block['path']}: {error}"
    return None if is_same else f"{page}: the snippet of {block['path']} is not as in the file; run scripts/check-docs --write"


def replaced(tree, block):
    start = block.start("code") - block.start()
    end = block.end("code") - block.start()
    return block[0][:start] + source(tree, block) + block[0][end:]


def source(tree, block):
    text = tree.read(block["path"])
    parts = [part(text, name) for name in block["names"].split(",")] if block["names"] else [text]
    return "\n\n".join(textwrap.dedent(part).strip("\n") for part in parts) + "\n"


def part(text, name):
    return region(text, name) or declaration(text, name)


def region(text, name):
    match = re.search(rf"^{COMMENT}snippet: {re.escape(name)}\n(.*?)^{COMMENT}end snippet$", text, re.M | re.S)
    return match and match[1]


def declaration(text, name):
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if re.match(rf"{DECLARATION}{re.escape(name)}\b", line)]
    if len(starts) != 1:
        raise LookupError(f"there are {len(starts)} parts with the name {name}")
    start = end = starts[0]
    while start and lines[start - 1].startswith("@"):
        start -= 1
    while not lines[end].endswith("}") or lines[end].startswith(" "):
        end += 1
    return "\n".join(lines[start : end + 1])
