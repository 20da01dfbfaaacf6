"""The bash libraries of scripts/lib, which choose ports and start servers and services; and what is said meanwhile."""

import contextlib
import os
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LOCAL = Path(os.environ.get("COUNTERFLOW_LOCAL") or ROOT / ".local/chaos").absolute()
os.environ["COUNTERFLOW_LOCAL"] = str(LOCAL)
# The schedule, the log and the responses of the run.
WORK = LOCAL / "chaos"
LIBRARIES = f'''
set -euo pipefail
source "{ROOT}/scripts/lib/common.bash"
source "{ROOT}/scripts/lib/servers.bash"
'''
# How long a script may run, in seconds. scripts/up may have to build everything.
SCRIPT_BOUND = 7200
printing = threading.Lock()


class Failure(Exception):
    """The run cannot go on."""


def say(text):
    """Prints the text, and appends it to the log of the run."""
    with printing:
        print(text, flush=True)
        if WORK.is_dir():
            with open(WORK / "log", "a") as log:
                print(text, file=log)


def bash(script, *arguments, **options):
    """Runs a script that uses the libraries, with its arguments in $1, $2, …"""
    return subprocess.run(["bash", "-c", LIBRARIES + script, "chaos", *arguments], text=True, **options)


def output_of(script, *arguments):
    result = bash(script, *arguments, stdout=subprocess.PIPE)
    if result.returncode:
        raise Failure(f"failed: {script}")
    return result.stdout.strip()


def run_script(name, *arguments):
    """Runs one of the scripts without its output. When this program ends, the script ends as it does by itself."""
    process = subprocess.Popen([ROOT / "scripts" / name, *arguments], stdout=subprocess.DEVNULL)
    try:
        process.wait(SCRIPT_BOUND)
    except BaseException as error:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(120)
        process.kill()
        if isinstance(error, subprocess.TimeoutExpired):
            raise Failure(f"scripts/{name} did not end within {SCRIPT_BOUND} s") from None
        raise
    if process.returncode:
        raise Failure(f"scripts/{name} failed")


def wait_until(condition, bound):
    """Returns whether the condition has come true within that many seconds."""
    end = time.monotonic() + bound
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


class Background(threading.Thread):
    """A thread whose error is raised where it is awaited, and that knows when it ended."""

    def __init__(self, function, *arguments):
        super().__init__(daemon=True)
        self.function, self.arguments, self.error, self.ended = function, arguments, None, None
        self.start()

    def run(self):
        try:
            self.function(*self.arguments)
        except BaseException as error:
            self.error = error
        self.ended = time.monotonic()

    def finish(self):
        self.join()
        if self.error:
            raise self.error


def all_at_once(function, items):
    """Calls the function with each item at the same time, and returns when all calls have ended."""
    for thread in [Background(function, item) for item in items]:
        thread.finish()
