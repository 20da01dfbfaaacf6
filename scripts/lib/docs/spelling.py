"""No word is one that codespell knows to be misspelt."""

import shutil
import subprocess
from pathlib import Path

PLACES = ["docs", "Sources", "Tests", "Examples", "Benchmarks", "scripts", "deploy", ".github", ".ci"]
SKIPPED = "*.png,*.csv,*.pyc,words.txt,.build"
# Names in code, such as `upTo`, and addresses.
IGNORED = r"\b\w*[a-z][A-Z]\w*|https?://\S+"


def check(tree):
    if shutil.which("codespell") is None:
        return ["codespell is not installed"]
    places = [place for place in PLACES if tree.exists(place)] + [page for page in tree.pages() if "/" not in page]
    words = Path(__file__).with_name("words.txt")
    result = subprocess.run(
        ["codespell", "--skip", SKIPPED, "--ignore-words", words, "--ignore-regex", IGNORED, *places],
        cwd=tree.root, capture_output=True, text=True, check=False)
    return result.stdout.splitlines() + result.stderr.splitlines()
