"""VERSION, the constant in the code, the label of the image and the changelog's first section agree."""

import re

FILE = "VERSION"
CODE = "Sources/Drivers/Postgres/PackageVersion.swift"
IMAGE = "deploy/Dockerfile"
PAGE = "CHANGELOG.md"
FORM = re.compile(r"(\d+\.\d+\.\d+)(-dev)?")
CONSTANT = re.compile(r'static let current = PackageVersion\("([^"]*)"\)')
DEFAULT = re.compile(r"^ARG VERSION=(.*)$", re.M)
SECTION = re.compile(r"^## (.*)$", re.M)
RELEASE = re.compile(r"(\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d")


def check(tree):
    version = tree.read(FILE).strip()
    form = FORM.fullmatch(version)
    if not form:
        return [f"{FILE}: '{version}' is not a version such as 1.2.3 or 1.2.3-dev"]
    found = []
    constant = CONSTANT.search(tree.read(CODE))
    if not constant or constant[1] != version:
        found.append(f"{CODE}: PackageVersion.current is not {version}, as in {FILE}")
    if DEFAULT.findall(tree.read(IMAGE)) != [version]:
        found.append(f"{IMAGE}: the one 'ARG VERSION' is not {version}, as in {FILE}")
    return found + section_faults(tree, form[1], is_released=not form[2])


def section_faults(tree, number, is_released):
    sections = SECTION.findall(tree.read(PAGE))
    first = sections[0] if sections else "nothing"
    if not is_released:
        found = [] if first == "Unreleased" else [f"{PAGE}: begins with '{first}'; between releases it is 'Unreleased'"]
    else:
        release = RELEASE.fullmatch(first)
        is_right = release and release[1] == number
        found = [] if is_right else [f"{PAGE}: begins with '{first}'; for this version it is '{number} - YYYY-MM-DD'"]
    wrong = [section for section in sections if section != "Unreleased" and not RELEASE.fullmatch(section)]
    return found + [f"{PAGE}: the section '{section}' is no release" for section in wrong]
