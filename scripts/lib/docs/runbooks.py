"""docs/operations.md has a runbook for each alert, and each procedure, with all its parts."""

import re

PAGE = "docs/operations.md"
RULES = "deploy/observability/alerts.yml"
ALERT_PARTS = ["Symptom", "Check", "Fix", "Verify"]
PROCEDURE_PARTS = ["When", "Check", "Do", "Verify"]


def check(tree):
    if not tree.exists(RULES):
        return []
    rules = re.findall(r"- alert: (\w+)$.*?severity: (\w+)", tree.read(RULES), re.M | re.S)
    page = tree.read(PAGE)
    alerts = sections(page, "## Alerts", "#### ")
    expected = [f"`{name}` ({level})" for name, level in rules]
    found = [f"{PAGE}: the alert {title} is missing" for title in expected if title not in alerts]
    found += [f"{PAGE}: there is no alert {title}" for title in alerts if title not in expected]
    found += [fault for title, text in alerts.items() for fault in faults(title, text, ALERT_PARTS)]
    procedures = sections(page, "## Procedures", "### ")
    return found + [fault for title, text in procedures.items() for fault in faults(title, text, PROCEDURE_PARTS)]


def sections(page, part, mark):
    """Returns the sections of a part of the page: their titles and texts."""
    text = (page + "\n## ").partition(f"\n{part}\n")[2].partition("\n## ")[0]
    _, *found = re.split(rf"^{mark}(.*)$", text, flags=re.M)
    return dict(zip(found[::2], found[1::2]))


def faults(title, text, parts):
    have = re.findall(r"^- \*\*(\w+):\*\*", text, re.M)
    return [] if have == parts else [f"{PAGE}: {title} has {', '.join(have) or 'no parts'} instead of {', '.join(parts)}"]
