"""The executables of the previous release, and those of this checkout."""

import os
import shutil
import subprocess
from pathlib import Path

from chaos.shell import ROOT, Failure, output_of, say

PRODUCTS = ["command-service", "relay", "projector", "reactor", "query-service", "counterflow", "loadtest"]
# How long the build of one product may take, in seconds.
BUILD_BOUND = 3600
RECORDED = ROOT / "scripts/lib/upgrade/previous"


def git(*arguments):
    result = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, timeout=300)
    if result.returncode:
        raise Failure(f"git {' '.join(map(str, arguments))}: {result.stderr.strip()}")
    return result.stdout.strip()


def previous(ref):
    """Builds the release unless that was done before; returns the folder of its executables."""
    commit = git("rev-parse", "--verify", f"{ref or newest_release()}^{{commit}}")
    configuration = "debug" if os.environ.get("COUNTERFLOW_BINARIES") else "release"
    folder = ROOT / ".build/previous" / f"{commit[:12]}-{configuration}"
    say(f"the previous release is {commit[:12]}")
    if not all((folder / product).exists() for product in PRODUCTS):
        build(commit, configuration, folder)
    return folder


def newest_release():
    tags = git("tag", "--list", "v*", "--sort=-version:refname").split()
    return tags[0] if tags else RECORDED.read_text().strip()


def build(commit, configuration, folder):
    source = folder / "source"
    say(f"building it in {source} (this takes some minutes)")
    folder.mkdir(parents=True, exist_ok=True)
    if not source.exists():
        git("worktree", "prune")
        git("worktree", "add", "--detach", source, commit)
    # The same packages, so that they need not be resolved again.
    if (ROOT / "Package.resolved").exists():
        shutil.copy(ROOT / "Package.resolved", source)
    with open(folder / "build.log", "w") as log:
        for product in PRODUCTS:
            command = ["swift", "build", "-c", configuration, "--product", product]
            if subprocess.run(command, cwd=source, stdout=log, stderr=subprocess.STDOUT, timeout=BUILD_BOUND).returncode:
                raise Failure(f"building {product} failed; its output is in {folder}/build.log")
    for product in PRODUCTS:
        shutil.copy(source / ".build" / configuration / product, folder)
    git("worktree", "remove", "--force", source)


def ours():
    """Returns the folder of this checkout's executables. scripts/reset removes them."""
    script = f'source "{ROOT}/scripts/lib/products.bash"; have_products "$@" >&2; echo "$binaries"'
    return Path(output_of(script, *PRODUCTS))


def checked(folder):
    missing = [product for product in PRODUCTS if not os.access(folder / product, os.X_OK)]
    if missing:
        raise Failure(f"there is no {missing[0]} in {folder}")
    return folder.absolute()
