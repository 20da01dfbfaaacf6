"""docs/errors.md lists every problem type that a service can send, with its status."""

import re

from .tree import table_cells

PAGE = "docs/errors.md"
FOLDERS = ["Sources/Toolkit", "Sources/Commerce", "Sources/Services"]
PROBLEM = re.compile(r'\bProblem\(\s*\.(?P<status>\w+),\s*(?:"(?P<name>[a-z-]+)"|(?P<constant>\w+))')
REJECTION = re.compile(r'\bRejection\(\s*"(?P<name>[^"]+)"(?:,\s*status:\s*(?P<status>\d+))?')
STATUSES = {
    "badRequest": 400, "unauthorized": 401, "forbidden": 403, "notFound": 404, "methodNotAllowed": 405, "conflict": 409,
    "preconditionFailed": 412, "contentTooLarge": 413, "uriTooLong": 414, "unsupportedMediaType": 415, "expectationFailed": 417,
    "unprocessableContent": 422, "tooManyRequests": 429, "requestHeaderFieldsTooLarge": 431, "internalServerError": 500,
    "notImplemented": 501, "serviceUnavailable": 503, "gatewayTimeout": 504,
}
# The status of a rejection that names none.
CONFLICT = 409
# A process manager decides again; no client gets it.
INTERNAL = {"undecided"}


def check(tree):
    if not tree.exists(PAGE):
        return [f"{PAGE} is missing"]
    sent, listed = in_code(tree), in_page(tree)
    missing = [f"{PAGE}: {name} ({status}) is missing" for name, status in sorted(sent - listed)]
    return missing + [f"{PAGE}: no service sends {name} ({status})" for name, status in sorted(listed - sent)]


def in_page(tree):
    rows = map(table_cells, tree.read(PAGE).splitlines())
    return {(cells[0].strip("`"), int(cells[1])) for cells in rows if len(cells) > 1 and cells[1].isdigit()}


def in_code(tree):
    found = set()
    for text in (uncommented(tree.read(path)) for folder in FOLDERS for path in tree.files(".swift", under=folder)):
        for match in PROBLEM.finditer(text):
            found.add((match["name"] or constant(text, match["constant"]), STATUSES[match["status"]]))
        for match in REJECTION.finditer(text):
            found |= {(name, int(match["status"] or CONFLICT)) for name in names(text, match["name"])}
    return {problem for problem in found if problem[0] not in INTERNAL}


def uncommented(text):
    return re.sub(r"^\s*//.*$", "", text, flags=re.M)


def constant(text, name):
    return re.search(rf'\blet {name} = "([a-z-]+)"', text)[1]


def names(text, name):
    """Returns the name; for `\\(what)-exists` one for each call of the function `exists` with a word."""
    if not (match := re.fullmatch(r"\\\(\w+\)-(\w+)", name)):
        return [name]
    return [f"{word}-{match[1]}" for word in re.findall(rf'\b{match[1]}\("(\w+)"', text)]
