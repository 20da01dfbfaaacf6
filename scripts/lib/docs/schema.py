"""docs/schema.md lists every table of the migrations, with its columns."""

import re

from .tree import table_cells

PAGE = "docs/schema.md"
# Tables that the code creates: the migrations' own.
CODE = "Sources/Drivers/Postgres/Migrator.swift"
TABLE = re.compile(r"\bcreate table (?:if not exists )?(\w+\.\w+) \(")
ADDED = re.compile(r"\balter table (?P<table>\w+\.\w+)\s+add column (?:if not exists )?(?P<column>\w+)")
CONSTRAINTS = {"primary", "unique", "check", "foreign", "constraint", "exclude"}
HEADING = re.compile(r"^#+ `?(\w+\.\w+)`?$")


def check(tree):
    if not tree.exists(PAGE):
        return [f"{PAGE} is missing"]
    made, listed = in_migrations(tree), in_page(tree)
    missing = [f"{PAGE}: {name} is missing" for name in sorted(made - listed)]
    return missing + [f"{PAGE}: there is no {name}" for name in sorted(listed - made)]


def in_page(tree):
    """Returns the tables, as `schema.table`, and their columns, as `schema.table.column`."""
    table, found = None, set()
    for line in tree.read(PAGE).splitlines():
        if line.startswith("#"):
            heading = HEADING.match(line)
            table = heading[1] if heading else None
            found |= {table} if table else set()
        elif table and (cells := table_cells(line)) and cells[0].startswith("`"):
            found.add(f"{table}.{cells[0].strip('`')}")
    return found


def in_migrations(tree):
    files = [path for path in tree.files(".sql", under="Sources") if "/Migrations/" in path]
    files += [CODE] if tree.exists(CODE) else []
    found = set()
    for text in (re.sub(r"--.*$", "", tree.read(path), flags=re.M) for path in files):
        for match in TABLE.finditer(text):
            found |= {match[1]} | {f"{match[1]}.{column}" for column in columns(text[match.end() :])}
        found |= {f"{match['table']}.{match['column']}" for match in ADDED.finditer(text)}
    return found


def columns(text):
    """Returns the first word of each definition, up to the parenthesis that ends the table."""
    words = (definition.split()[0] for definition in definitions(text))
    return [word for word in words if word not in CONSTRAINTS]


def definitions(text):
    depth, start = 0, 0
    for place, character in enumerate(text):
        if depth == 0 and character in ",)":
            yield text[start:place]
            start = place + 1
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            return
