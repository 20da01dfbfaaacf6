"""The comparisons of a run, and the exit status that follows from them."""

from .shell import say, wait_until
from .system import counterflow


class Verdict:
    def __init__(self):
        self.failures = 0

    def compare(self, what, expected, found):
        is_right = expected == found
        self.failures += not is_right
        say(f"  {'ok   ' if is_right else 'WRONG'} {what:<58} {found}" + ("" if is_right else f", expected {expected}"))

    def all_of(self, what, items, wrong):
        """Expects that none of the items is wrong, and prints some of those that are."""
        self.compare(what, len(items), len(items) - len(wrong))
        print_some(wrong)

    def none_of(self, what, found):
        """Expects an empty list, and prints some of it otherwise."""
        self.compare(what, 0, len(found))
        print_some(found)

    def compare_positions(self, system):
        self.compare("positions dense from 1", "t", system.value(
            "select count(*) = max(position) and min(position) = 1 from event_store.events"))

    def compare_command(self, name, patience):
        """Expects that a command of counterflow succeeds within that many seconds, and prints what it says otherwise."""
        results = []

        def succeeds():
            results.append(counterflow(name))
            return results[-1].returncode == 0

        wait_until(succeeds, patience)
        self.compare(f"exit status of counterflow {name}", 0, results[-1].returncode)
        if results[-1].returncode:
            say(f"{results[-1].stdout}{results[-1].stderr}")


def print_some(items):
    for item in items[:5]:
        say(f"          {item}")
