"""Every script, subcommand and option that a page names exists."""

import re

from .tree import code

SCRIPT = re.compile(r"(?<![\w./-])scripts/(?P<name>[\w./-]*\w)(?P<rest>[^|;&]*)")
# An executable whose subcommands are those of the administration, and its arguments.
PROGRAM = re.compile(r"(?:^|swift run |\s)(?P<program>counterflow|items|bank|social|loadtest) (?P<rest>[^|;&]*)")
OPTION = re.compile(r"(?<!\S)--([a-z][a-z-]+)")
COMMAND = re.compile(r"struct (\w+)(?:<[^>]*>)?: (?:Async)?ParsableCommand \{")
PARAMETER = re.compile(r"@(?:Option|Flag)(?P<arguments>.*?)\n?\s*var (?P<name>\w+)", re.S)
ADMINISTRATION = ["Sources/Toolkit/Administration", "Sources/Toolkit/Counterflow", "Sources/Services/counterflow"]
LOAD_TEST = ["Sources/Services/loadtest"]


def check(tree):
    options = {"counterflow": options_in(tree, ADMINISTRATION), "loadtest": options_in(tree, LOAD_TEST)}
    subcommands = subcommands_in(tree)
    found = []
    for page in tree.pages():
        for number, text in code(tree.read(page)):
            text = re.sub(r"(?:^|\s)#.*", "", text)
            faults = script_faults(tree, text) + program_faults(text, subcommands, options)
            found += [f"{page}:{number}: {fault}" for fault in faults]
    return found


def script_faults(tree, text):
    found = []
    for match in SCRIPT.finditer(text):
        path = f"scripts/{match['name']}"
        if not tree.exists(path):
            found.append(f"there is no {path}")
        elif (tree.root / path).is_file():
            script = tree.read(path)
            options = OPTION.findall(match["rest"])
            found += [f"{path} has no option --{name}" for name in options if f"--{name}" not in script]
    return found


def program_faults(text, subcommands, options):
    found = []
    for match in PROGRAM.finditer(text):
        is_load_test = match["program"] == "loadtest"
        word = re.match(r"[a-z][a-z-]*(?=\s|$)", match["rest"])
        if word and not is_load_test and word[0] not in subcommands:
            found.append(f"{match['program']} has no subcommand {word[0]}")
        known = options["loadtest" if is_load_test else "counterflow"]
        unknown = (name for name in OPTION.findall(match["rest"]) if name not in known)
        found += [f"{match['program']} has no option --{name}" for name in unknown]
    return found


def swift(tree, folders):
    return "\n".join(tree.read(path) for folder in folders for path in tree.files(".swift", under=folder))


def subcommands_in(tree):
    """Returns the names of all subcommands: the given one, or the type's in kebab case."""
    _, *parts = COMMAND.split(swift(tree, ADMINISTRATION))
    return {given(r'commandName: "([\w-]+)"', body) or kebab(of_type) for of_type, body in zip(parts[::2], parts[1::2])}


def options_in(tree, folders):
    """Returns the names of all options and flags: the given one, or the variable's in kebab case."""
    parameters = PARAMETER.finditer(swift(tree, folders))
    names = {given(r'customLong\("([\w-]+)"', match["arguments"]) or kebab(match["name"]) for match in parameters}
    return names | {"help", "version"}


def given(pattern, text):
    match = re.search(pattern, text)
    return match and match[1]


def kebab(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
