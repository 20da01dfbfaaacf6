"""Attacks command-service and query-service.

attack.py COMMAND_URL QUERY_URL OPENAPI_DOCUMENT TOKEN

The services require tokens and close idle connections after some seconds. Prints one finding per line, and exits with status 1 if
there is any.
"""

import concurrent.futures
import json
import resource
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

commands, queries, document, token = sys.argv[1:5]
findings = []
# Attacks of one kind run concurrently.
pool = concurrent.futures.ThreadPoolExecutor(16)
bearer = f"Authorization: Bearer {token}\r\n".encode()


def address(url):
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port


def connect(url, timeout=60):
    return socket.create_connection(address(url), timeout=timeout)


def exchange(url, raw, timeout=3):
    """Returns everything received until the other side closes or is silent."""
    received = b""
    with connect(url, timeout) as connection:
        connection.sendall(raw)
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except (TimeoutError, ConnectionResetError):
            pass
    return received


def statuses(received):
    return [int(line.split()[1]) for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.")]


def ask(url, path, method="GET", body=None, headers=None):
    request = urllib.request.Request(url + path, data=body, method=method, headers=headers or {})
    request.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


# Request smuggling and invalid HTTP: one rejection at most, then the end. Never a second response, never a success.
host = b"Host: x\r\n"
post = b"POST /v1/products HTTP/1.1\r\n" + host + bearer + b"Content-Type: application/json\r\n"
hidden = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
product = b'{"sku":"SMUGGLED","name":"x","unitPrice":1}'
size = str(len(product)).encode()
chunked = hex(len(product))[2:].encode() + b"\r\n" + product + b"\r\n0\r\n\r\n"
shapes = {
    "length and chunks": post + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked + hidden,
    "chunks and length": post + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + chunked + hidden,
    "two lengths": post + b"Content-Length: " + size + b"\r\nContent-Length: 5\r\n\r\n" + product + hidden,
    "lengths in a list": post + b"Content-Length: " + size + b", 5\r\n\r\n" + product + hidden,
    "length with a sign": post + b"Content-Length: +" + size + b"\r\n\r\n" + product,
    "length below 0": post + b"Content-Length: -1\r\n\r\n" + product,
    "length in hexadecimal": post + b"Content-Length: 0x2b\r\n\r\n" + product,
    "length beyond all": post + b"Content-Length: 99999999999999999999999\r\n\r\n" + product,
    "space before the colon": post + b"Transfer-Encoding : chunked\r\n\r\n" + chunked,
    "unknown coding": post + b"Transfer-Encoding: xchunked\r\n\r\n" + chunked + hidden,
    "chunked not last": post + b"Transfer-Encoding: chunked, identity\r\n\r\n" + chunked + hidden,
    "folded header": post + b"X: a\r\n b\r\nTransfer-Encoding:\r\n chunked\r\n\r\n" + chunked,
    "bare line feeds": b"POST /v1/products HTTP/1.1\nHost: x\nContent-Length: 4\n\n{}{}",
    "chunk size beyond all": post + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
    "chunk size that is none": post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + product + b"\r\n0\r\n\r\n",
    "NUL in a name": post + b"X\x00: y\r\nContent-Length: 0\r\n\r\n",
    "NUL in a value": post + b"X: \x00\r\nContent-Length: 0\r\n\r\n",
    "carriage return in a value": post + b"X: a\rb\r\nContent-Length: 0\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "another version": b"GET /healthz HTTP/3.0\r\nHost: x\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "space in the target": b"GET /health z HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL in the target": b"GET /healthz\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a field too long": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    "fields too long": b"GET /healthz HTTP/1.1\r\n" + host + b"".join(b"X%d: %s\r\n" % (n, b"a" * 1000) for n in range(60)) + b"\r\n",
    "too many fields": b"GET /healthz HTTP/1.1\r\n" + host + b"X: y\r\n" * 300 + b"\r\n",
}


def try_shape(name, raw, url):
    answers = statuses(exchange(url, raw))
    if len(answers) > 1 or any(status < 400 or status >= 500 for status in answers):
        findings.append(f"{name}: answered {answers}")


list(pool.map(lambda attack: try_shape(*attack), [(name, raw, url) for name, raw in shapes.items() for url in (commands, queries)]))

# Without a valid token, nothing is revealed, whatever the request.
for method, url, path in (("POST", commands, "/v1/orders"), ("GET", queries, "/v1/orders"), ("DELETE", commands, "/v1/products/X")):
    for header in (b"", b"Authorization: Bearer\r\n", b"Authorization: Bearer \r\n", b"Authorization: Bearer a.b.c\r\n",
                   b"Authorization: Basic YTpi\r\n", bearer + bearer, b"authorization: bearer " + b"A" * 9000 + b"\r\n",
                   b"Authorization: Bearer \xff\xfe\r\n"):
        raw = method.encode() + b" " + path.encode() + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n" + header + b"\r\n"
        answers = statuses(exchange(url, raw, timeout=30))
        if answers not in ([401], [400]):
            findings.append(f"{method} {path} with {header[:40]!r}: {answers}")

# Values that are too long, and malformed UTF-8.
for value in (";", "wait=1, ;", ",", "=", "wait", "wait=", 'wait="', "wait=99999999999999999999", ";;=;"):
    status, body = ask(queries, "/v1/orders/o-1", headers={"Prefer": value})
    if status != 200:
        findings.append(f"Prefer: {value}: {status}")
status, _ = ask(queries, "/v1/orders?q=" + "a" * 9000)
if status != 414:
    findings.append(f"a query of 9,000 bytes: {status}")
for path in ("/v1/orders/%ff%fe", "/v1/orders/%00", "/v1/orders/%2e%2e", "/v1/products/%F0%28%8C%28", "/v1/customers/%zz",
             "/v1/orders?q=%ff", "/v1/orders?q=%00", "/v1/customers?email=%c3%28", "/v1/orders/" + "x" * 5000, "/v1/orders?%ff=1"):
    status, body = ask(queries, path)
    if status not in (400, 404, 200):
        findings.append(f"GET {path[:60]}: {status} {body[:200]}")
for body in (b"\xff\xfe", b'{"sku":"\xc3\x28","name":"x","unitPrice":1}', b"[" * 100_000, b'{"sku":"\\ud800","name":"x","unitPrice":1}',
             b'{"a":' * 5000, b'{"unitPrice":1e999}', b'{"unitPrice":' + b"9" * 10_000 + b"}", b"{" + b'"a":1,' * 20_000 + b'"b":2}', b""):
    status, answer = ask(commands, "/v1/products", "POST", body)
    if status not in (400, 413, 415, 422):
        findings.append(f"POST /v1/products with {body[:30]!r}: {status} {answer[:200]}")
status, _ = ask(commands, "/v1/products", "POST", b'{"sku":"' + b"a" * 300_000 + b'"}')
if status != 413:
    findings.append(f"a body of 300,000 bytes: {status}")

# SQL and other injections in every parameter: no internal error, and no more results than for harmless text.
with open(document, encoding="utf-8") as file:
    paths = yaml.safe_load(file)
payloads = ["' or 1=1 --", "'; drop table read_models.orders; --", "\\'; select pg_sleep(60); --", "1) union select null,null--", "$1", "%27%20or%20", "${jndi:ldap://x}",
            "<script>alert(1)</script>", "../../etc/passwd", "\u202e\u0000"[:1], "%", "_", "\\", "a' & b | !c", "(((", "*:*"]


def resolve(thing):
    while "$ref" in thing:
        found = paths
        for part in thing["$ref"].split("/")[1:]:
            found = found[part]
        thing = found
    return thing


attacks = []
for path, item in paths["paths"].items():
    if "get" not in item or not path.startswith("/v1"):
        continue
    parameters = [resolve(parameter) for parameter in item["get"].get("parameters", [])]
    plain = path.replace("{id}", "o-1").replace("{sku}", "LANTERN")
    for parameter in parameters:
        for payload in payloads:
            quoted = urllib.parse.quote(payload, safe="")
            headers = {}
            target = plain
            if parameter["in"] == "query":
                target += f"?{parameter['name']}={quoted}"
            elif parameter["in"] == "path":
                target = path.replace("{" + parameter["name"] + "}", quoted)
            else:
                headers = {parameter["name"]: payload.encode("ascii", "ignore").decode()}
            attacks.append((parameter["name"], payload, target, headers))


def try_parameter(name, payload, target, headers):
    if target.split("?")[0].endswith("/changes"):
        # This response has no end; its head is enough.
        headers = {**headers, "Last-Event-ID": headers.get("Last-Event-ID") or "x"}
    status, body = ask(queries, target, headers=headers)
    if status not in (200, 304, 400, 404):
        findings.append(f"GET {target} {headers}: {status} {body[:200]}")
    if status == 200 and name in ("q", "email", "customerId", "country") and len(payload) > 1 and json.loads(body)["items"]:
        findings.append(f"GET {target}: found something")


list(pool.map(lambda attack: try_parameter(*attack), attacks))
count = len(attacks)
status, body = ask(queries, "/v1/orders")
if status != 200 or not json.loads(body)["items"]:
    findings.append(f"after that the orders are not there: {status}")

# Slow clients are cut off in every phase of a request.
def is_cut_off(url, beginning, drip, patience=60):
    with connect(url, 1) as connection:
        connection.sendall(beginning)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            try:
                connection.sendall(drip)
                if connection.recv(65536) == b"":
                    return True
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                return True
    return False


def try_slowly(name, beginning, drip):
    if not is_cut_off(commands, beginning, drip):
        findings.append(f"{name}: not cut off")


list(pool.map(lambda attack: try_slowly(*attack), (
    ("slow headers", b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"A"),
    ("a slow request line", b"G", b"G"),
    ("a slow body", post + b"Content-Length: 1000\r\n\r\n", b" "),
    ("slow chunks", post + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ("silence", b"", b""),
)))
# A client that keeps sending requests without reading.
with connect(queries, 1) as connection:
    deadline, is_cut_off_at_last = time.monotonic() + 60, False
    while time.monotonic() < deadline and not is_cut_off_at_last:
        try:
            connection.sendall(b"GET /openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            is_cut_off_at_last = True
    if not is_cut_off_at_last:
        findings.append("who reads no answer is not cut off")

# 10,000 idle connections, while other requests are still answered.
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
wanted = min(10_000, hard - 200)
idle = []
try:
    for _ in range(wanted):
        idle.append(connect(queries))
    for _ in range(20):
        status, _ = ask(queries, "/v1/orders/o-1")
        if status != 200:
            findings.append(f"beside {wanted} idle connections: {status}")
finally:
    for connection in idle:
        connection.close()
status, _ = ask(queries, "/v1/orders/o-1")
if status != 200:
    findings.append(f"after {wanted} idle connections: {status}")

print(f"{len(shapes)} shapes, {count} parameters, {wanted} idle connections")
print("\n".join(findings))
sys.exit(1 if findings else 0)
