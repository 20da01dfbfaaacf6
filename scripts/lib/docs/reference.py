"""Every public symbol of the two libraries has a summary, and DocC has no warning."""

import json
import os
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

UMBRELLA, TESTING = "Counterflow", "CounterflowTesting"
IMPORTS = "Sources/Toolkit/Counterflow/Counterflow.swift"
CATALOG = "Sources/Toolkit/Counterflow/Counterflow.docc"
BUILD, OUTPUT = ".build/debug", ".build/reference"
SYSTEM_LIBRARIES = ["libpq", "librabbitmq", "libcurl"]


def check(root):
    root = Path(root)
    with tempfile.TemporaryDirectory() as graphs:
        extract(root, modules((root / IMPORTS).read_text(encoding="utf-8")), graphs)
        found = [finding for path in sorted(Path(graphs).iterdir())
                 for finding in undocumented(json.loads(path.read_text(encoding="utf-8")), root)]
        return sorted(found) + convert(root, graphs)


def modules(imports):
    """Returns the modules that users of both products see."""
    return [UMBRELLA, TESTING, *re.findall(r"^@_exported public import (\w+)$", imports, re.M)]


def extract(root, names, folder):
    """Writes the symbol graphs of modules that are built."""
    arguments = ["-I", f"{BUILD}/Modules", *c_modules(root), "-target", target(), "-minimum-access-level", "public",
                 "-skip-synthesized-members", "-output-dir", folder]
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(run, ["swift", "symbolgraph-extract", "-module-name", name, *arguments], root) for name in names]
    for done in runs:
        done.result()


def c_modules(root):
    """Returns the arguments with which swift finds the C modules that the libraries' modules import."""
    maps = [*root.glob(f"{BUILD}/*.build/module.modulemap"), *root.glob("Sources/Drivers/*/module.modulemap"),
            *root.glob(".build/checkouts/*/Sources/*/include/module.modulemap")]
    includes = [f"-I{path}" for path in root.glob(".build/checkouts/*/Sources/*/include")]
    system = run(["pkg-config", "--cflags-only-I", *SYSTEM_LIBRARIES], root).split()
    clang = [f"-fmodule-map-file={path}" for path in maps] + includes + system
    return [word for argument in clang for word in ("-Xcc", argument)]


def target():
    return json.loads(run(["swift", "-print-target-info"], "."))["target"]["triple"]


def undocumented(graph, root):
    """Yields the symbols of a graph without a summary. The compiler copies that of a protocol's requirement to what
    implements it."""
    for symbol in graph["symbols"]:
        lines = symbol.get("docComment", {}).get("lines", [])
        has_summary = bool(lines) and not lines[0]["text"].lstrip().startswith("- ")
        # Others are made by the compiler.
        location = symbol.get("location")
        if location and not has_summary:
            path = os.path.relpath(location["uri"].removeprefix("file://"), root)
            yield f"{path}:{location['position']['line'] + 1}: {'.'.join(symbol['pathComponents'])} has no summary"


def convert(root, graphs):
    """Writes the reference, and returns DocC's warnings and errors."""
    result = subprocess.run(
        ["docc", "convert", CATALOG, "--additional-symbol-graph-dir", graphs, "--output-dir", OUTPUT,
         "--fallback-display-name", UMBRELLA, "--fallback-bundle-identifier", UMBRELLA, "--ide-console-output"],
        cwd=root, capture_output=True, text=True, check=False)
    lines = (result.stdout + result.stderr).splitlines()
    found = [line.removeprefix(f"{root}/") for line in lines if re.search(r"\b(warning|error): ", line)]
    return found or ([f"docc: {line}" for line in lines] if result.returncode else [])


def run(command, folder):
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{' '.join(command[:4])} failed:\n{result.stderr}")
    return result.stdout
