"""The tables of docs/api.md are made from openapi.yaml."""

import re

import yaml

DOCUMENT = "Sources/Commerce/API/openapi.yaml"
PAGE = "docs/api.md"
TABLE = re.compile(r"(<!-- generated: (?P<tag>\w+) -->\n).*?(<!-- end generated -->)", re.S)


def check(tree):
    if not tree.exists(PAGE):
        return [f"{PAGE} is missing"]
    return [] if rendered(tree) == tree.read(PAGE) else [f"{PAGE} is not as {DOCUMENT}; run scripts/check-docs --write"]


def write(tree):
    tree.write(PAGE, rendered(tree))


def rendered(tree):
    document = yaml.safe_load(tree.read(DOCUMENT))
    return TABLE.sub(lambda match: match[1] + table(document, match["tag"]) + match[3], tree.read(PAGE))


def table(document, tag):
    rows = [row(document, method, path, operation) for path, item in document["paths"].items()
            for method, operation in item.items() if method != "head" and tag in operation["tags"]]
    return "\n".join(["| request | takes | what it does | status |", "| --- | --- | --- | --- |", *rows]) + "\n"


def row(document, method, path, operation):
    takes = filter(None, [body(document, operation), parameters(document, operation)])
    statuses = ", ".join(status for status in operation["responses"] if status.startswith("2"))
    return f"| `{method.upper()} {path}` | {', '.join(takes)} | {operation['summary']} | {statuses} |"


def parameters(document, operation):
    named = [resolve(document, parameter) for parameter in operation.get("parameters", [])]
    names = [parameter["name"] for parameter in named if parameter["in"] == "query"]
    return f"`?{'&'.join(name + '=' for name in names)}`" if names else ""


def body(document, operation):
    request = operation.get("requestBody")
    if request is None:
        return ""
    schema = resolve(document, request["content"]["application/json"]["schema"])
    return f"`{shape(document, schema)}`" + ("" if request.get("required") else " or no body")


def shape(document, schema):
    """Returns the members of an object, with a question mark after each that may be absent."""
    required = schema.get("required", [])
    members = [f'"{name}"' + ("" if name in required else "?") + elements(document, member)
               for name, member in schema.get("properties", {}).items()]
    return "{" + ",".join(members) + "}"


def elements(document, member):
    items = resolve(document, member).get("items")
    return f":[{shape(document, resolve(document, items))}]" if items else ""


def resolve(document, part):
    while "$ref" in part:
        found = document
        for key in part["$ref"].split("/")[1:]:
            found = found[key]
        part = found
    return part
