"""Checks HTTP exchanges against the OpenAPI document: every response is documented, and everything documented occurs.

check_openapi.py DOCUMENT ROUTES, with the exchanges as JSON on standard input. ROUTES is a JSON array of [method, path]. Prints one
finding per line, and exits with status 1 if there is any.
"""

import json
import re
import sys

import jsonschema
import yaml

with open(sys.argv[1], encoding="utf-8") as file:
    document = yaml.safe_load(file)
routes = {(method.lower(), path) for method, path in json.loads(sys.argv[2])}
wrong = []
documented = {(method, path) for path, item in document["paths"].items() for method in item}
for method, path in sorted(routes - documented):
    wrong.append(f"{method} {path} is a route, and not documented")
for method, path in sorted(documented - routes):
    wrong.append(f"{method} {path} is documented, and no route")

patterns = [
    (re.compile("^" + re.sub(r"\\\{[a-z]+\\\}", "[^/]+", re.escape(path)) + "$"), path) for path in document["paths"]
]


def resolve(thing):
    while "$ref" in thing:
        found = document
        for part in thing["$ref"].split("/")[1:]:
            found = found[part]
        thing = found
    return thing


def validate(schema, body, place):
    whole = {**schema, "components": document["components"]}
    for error in jsonschema.Draft202012Validator(whole).iter_errors(body):
        wrong.append(f"{place}: {'/'.join(map(str, error.path))}: {error.message}"[:400])


def properties(schema, body, seen, name):
    """Collects the members of the document's objects that had a value."""
    if "$ref" in schema:
        name = schema["$ref"].split("/")[-1]
        schema = resolve(schema)
    for choice in schema.get("oneOf", []):
        properties(choice, body, seen, name)
    if isinstance(body, dict):
        for member, of_member in schema.get("properties", {}).items():
            if body.get(member) is not None:
                seen.add((name, member))
                properties(of_member, body[member], seen, f"{name}.{member}")
    elif isinstance(body, list) and "items" in schema:
        for element in body:
            properties(schema["items"], element, seen, name)


def members(schema, name, found):
    if "$ref" in schema:
        name = schema["$ref"].split("/")[-1]
        schema = resolve(schema)
    for choice in schema.get("oneOf", []):
        members(choice, name, found)
    for member, of_member in schema.get("properties", {}).items():
        if of_member.get("type") != "null":
            found.add((name, member))
        members(of_member, f"{name}.{member}", found)
    if "items" in schema:
        members(schema["items"], name, found)


succeeded, seen = set(), set()
for exchange in json.load(sys.stdin):
    method, path, status = exchange["method"].lower(), exchange["path"].split("?")[0], exchange["status"]
    place = f"{exchange['method']} {exchange['path']} {status}"
    # A literal path takes precedence over one with a parameter.
    matches = sorted((p.count("{"), p) for pattern, p in patterns if pattern.match(path))
    operation = next((document["paths"][p][method] for _, p in matches if method in document["paths"][p]), None)
    template = next((p for _, p in matches if method in document["paths"][p]), None)
    problem = {"$ref": "#/components/schemas/Problem"}
    if operation is None:
        if status not in (404, 405):
            wrong.append(f"{place}: the operation is not documented")
        elif method != "head":
            validate(problem, json.loads(exchange["body"]), place)
        continue
    response = operation["responses"].get(str(status))
    # An operation of the other service is answered with 404.
    if response is None and status == 404 and "not-found" in exchange["body"]:
        continue
    if response is None:
        wrong.append(f"{place}: the status is not documented: {exchange['body'][:200]}")
        continue
    content = resolve(response).get("content", {})
    if not content:
        if exchange["body"]:
            wrong.append(f"{place}: a body where none is documented")
    elif exchange["contentType"].split(";")[0] not in content:
        wrong.append(f"{place}: {exchange['contentType']} is not documented")
    else:
        schema = content[exchange["contentType"].split(";")[0]]["schema"]
        is_json = exchange["contentType"].endswith("json")
        body = json.loads(exchange["body"]) if is_json else exchange["body"]
        validate(schema, body, place)
        properties(schema, body, seen, template)
    if 200 <= status < 300:
        succeeded.add((method, template))

for method, path in sorted(documented - succeeded):
    if method != "head":
        wrong.append(f"{method} {path} never succeeded")
wanted = set()
for path, item in document["paths"].items():
    for operation in item.values():
        for status, response in operation["responses"].items():
            if status.startswith("2"):
                for media in resolve(response).get("content", {}).values():
                    members(media["schema"], path, wanted)
for name, member in sorted(wanted - seen):
    wrong.append(f"{name}.{member} is documented, and was never answered")
print("\n".join(wrong))
sys.exit(1 if wrong else 0)
