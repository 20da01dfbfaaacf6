"""Each check passes on a small checkout that is right, and fails once for each way in which it can be wrong."""

import tempfile
import unittest
from pathlib import Path

from . import api, commands, errors, links, reference, release, runbooks, schema, snippets, spelling, terms
from .tree import Tree

BANK = """\
import Counterflow

enum AccountEvent: DomainEvent {
  case opened
}

@main
struct Bank {
  // snippet: routes
  let commands = 1
  // end snippet
}
"""
OPENAPI = """\
paths:
  /v1/orders:
    post:
      tags: [commands]
      summary: Places an order.
      requestBody:
        required: true
        content: {application/json: {schema: {$ref: '#/components/schemas/PlaceOrder'}}}
      responses: {'201': {}, '409': {}}
    get:
      tags: [queries]
      summary: Orders.
      parameters: [{name: status, in: query}, {name: Prefer, in: header}]
      responses: {'200': {}}
    head: {tags: [queries], summary: The same., responses: {'200': {}}}
components:
  schemas:
    PlaceOrder:
      required: [lines]
      properties:
        orderId: {type: string}
        lines: {type: array, items: {required: [sku], properties: {sku: {type: string}}}}
"""
MIGRATION = """\
create table store.events (
  position bigint not null check (position > 0), -- Dense, from 1.
  data json,
  primary key (position)
);
alter table store.events add column actor text;
"""


class ChecksTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = Tree(folder.name)

    def write(self, path, text):
        file = Path(self.tree.root, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def assert_findings(self, check, *parts):
        """There is one finding for each part, in this order, and it has the part."""
        findings = list(check.check(self.tree))
        self.assertEqual(len(findings), len(parts), findings)
        for finding, part in zip(findings, parts):
            self.assertIn(part, finding)

    def test_links_lead_to_files_and_headings(self):
        self.write("docs/a.md", "# One `two` (three)\n## Twice\n## Twice\n```\n# No heading\n```\n")
        self.write("README.md", "[a](docs/a.md#one-two-three) [b](docs/a.md#twice-1) [c](https://example.org) `[d](none.md)`\n")
        self.assert_findings(links)
        self.write("README.md", '[a](docs/b.md)\n[b](docs/a.md#no-heading)\n<img src="docs/c.svg">\n[c](#none)\n')
        self.assert_findings(links, "README.md:1: docs/b.md", "no-heading: there is no such heading", "docs/c.svg", "#none")

    def test_snippets_are_as_in_their_files(self):
        self.write("Bank.swift", BANK)
        self.write("a.md", "<!-- snippet: Bank.swift#AccountEvent,routes -->\n```swift\nold\n```\n")
        self.assert_findings(snippets, "is not as in the file")
        snippets.write(self.tree)
        self.assert_findings(snippets)
        self.assertIn("enum AccountEvent: DomainEvent {\n  case opened\n}\n\nlet commands = 1\n```", self.tree.read("a.md"))
        self.assertIn("@main\nstruct Bank {", snippets.part(BANK, "Bank"))

    def test_a_snippet_names_a_part_of_a_file_above_a_code_block(self):
        self.write("Bank.swift", BANK)
        self.write("a.md", "<!-- snippet: Bank.swift#Nobody -->\n```swift\n```\n")
        self.assert_findings(snippets, "0 parts with the name Nobody")
        self.write("a.md", "<!-- snippet: Shop.swift -->\n```swift\n```\n")
        self.assert_findings(snippets, "No such file")
        self.write("a.md", "<!-- snippet: Bank.swift -->\nText\n")
        self.assert_findings(snippets, "no code block")

    def test_words_are_spelt_correctly(self):
        self.write("docs/a.md", "Received once, with upTo and inout.\n")
        self.assert_findings(spelling)
        self.write("docs/a.md", "Rec" "ieved once.\n")
        self.assert_findings(spelling, "docs/a.md:1")

    def test_scripts_subcommands_and_options_exist(self):
        self.write("scripts/up", "--detach")
        self.write("Sources/Toolkit/Administration/A.swift", """
            struct Status: AsyncParsableCommand {
              static let configuration = CommandConfiguration(abstract: "")
              @Flag(help: "All.") var onlyIfEqual = false
            }
            struct NewPackage: ParsableCommand {
              static let configuration = CommandConfiguration(commandName: "new", abstract: "")
              @Option(name: .customLong("in"), help: "Where.") var parent = "."
            }
            """)
        self.write("a.md", "`scripts/up --detach`, `counterflow status --only-if-equal`\n```\ncounterflow new a --in .. # counterflow\n```\n")
        self.assert_findings(commands)
        self.write("a.md", "`scripts/gone` `scripts/up --slow`\n\n    counterflow halt\n    bank status --all\n    loadtest --all\n")
        self.assert_findings(
            commands, "no scripts/gone", "scripts/up has no option --slow", "a.md:3: counterflow has no subcommand halt",
            "bank has no option --all", "loadtest has no option --all")

    def test_retired_terms_do_not_come_back(self):
        self.write("a.md", "The gap is repaired. `mend`\n")
        self.write("Sources/a.swift", "// Its lock guards it.\n")
        self.write("CHANGELOG.md", "A hole is a gap.\n")
        self.assert_findings(terms)
        self.write("a.md", "The hole is mended.\nIt is told so.\n")
        self.write("Sources/a.swift", "// An incarnation.\n")
        self.write("scripts/up", "# the crew\n")
        self.assert_findings(terms, "'hole'", "'mended'", "'is told'", "a.swift:1: 'incarnation'", "scripts/up:1: 'crew'")

    def test_the_tables_of_the_api_are_those_of_openapi(self):
        self.assert_findings(api, "is missing")
        self.write(api.DOCUMENT, OPENAPI)
        self.write(api.PAGE, "".join(f"<!-- generated: {tag} -->\n<!-- end generated -->\n" for tag in ["commands", "queries"]))
        self.assert_findings(api, "is not as")
        api.write(self.tree)
        self.assert_findings(api)
        rows = [line for line in self.tree.read(api.PAGE).splitlines() if line.startswith("| `")]
        self.assertEqual(rows, [
            '| `POST /v1/orders` | `{"orderId"?,"lines":[{"sku"}]}` | Places an order. | 201 |',
            "| `GET /v1/orders` | `?status=` | Orders. | 200 |"])

    def test_the_page_of_errors_lists_what_the_code_sends(self):
        self.write("Sources/Toolkit/a.swift", """
            /// Rejection("overdrawn", title: "")
            let late = "not-there-yet"
            let a = Problem(
              .badRequest, "bad-thing", title: "")
            let b = Problem(.serviceUnavailable, late, title: "")
            let c = Rejection("no-stock", status: 422, title: "")
            let d = exists("order"), e = Rejection("\\(what)-exists", title: "")
            """)
        others = "| `not-there-yet` | 503 | |\n| `no-stock` | 422 | |\n| `order-exists` | 409 | |\n"
        self.write(errors.PAGE, "| `bad-thing` | 400 | |\n" + others)
        self.assert_findings(errors)
        self.write(errors.PAGE, "| `bad-thing` | 404 | |\n" + others)
        self.assert_findings(errors, "bad-thing (400) is missing", "no service sends bad-thing (404)")

    def test_every_public_symbol_has_a_summary(self):
        self.assertEqual(
            reference.modules("public import A\n@_exported public import EventSourcing\n"),
            ["Counterflow", "CounterflowTesting", "EventSourcing"])
        place = {"uri": "file:///bank/Sources/a.swift", "position": {"line": 6, "character": 0}}
        symbols = [
            {"pathComponents": ["Bank"], "location": place, "docComment": {"lines": [{"text": "A bank."}]}},
            {"pathComponents": ["Bank", "open()"], "location": place, "docComment": {"lines": [{"text": "- Returns: it."}]}},
            {"pathComponents": ["Bank", "close()"], "location": place},
            {"pathComponents": ["Bank", "hash(into:)"]},
        ]
        self.assertEqual(list(reference.undocumented({"symbols": symbols}, "/bank")), [
            "Sources/a.swift:7: Bank.open() has no summary", "Sources/a.swift:7: Bank.close() has no summary"])

    def test_each_alert_and_procedure_has_a_runbook(self):
        self.assert_findings(runbooks)
        self.write(runbooks.RULES, "- alert: Down\n  labels: { severity: critical }\n- alert: Slow\n  labels: { severity: warning }\n")
        parts = "- **Symptom:** a\n- **Check:** b\n- **Fix:** c\n"
        page = f"## Alerts\n#### `Down` (critical)\n{parts}- **Verify:** d\n"
        slow = f"#### `Slow` (warning)\n{parts}- **Verify:** d\n"
        self.write(runbooks.PAGE, f"# A\n{page}{slow}## Procedures\n### A\n- **When:** a\n- **Check:** b\n- **Do:** c\n- **Verify:** d\n")
        self.assert_findings(runbooks)
        self.write(runbooks.PAGE, f"# A\n{page}#### `Gone` (warning)\n{parts}## Procedures\n### A\nText\n")
        self.assert_findings(
            runbooks, "`Slow` (warning) is missing", "no alert `Gone` (warning)", "`Gone` (warning) has Symptom, Check, Fix instead",
            "A has no parts")

    def test_the_page_of_the_schema_lists_tables_and_columns(self):
        self.write("Sources/Toolkit/Migrations/v0001_a.sql", MIGRATION)
        self.write(schema.PAGE, "## store.events\n| `position` | |\n| `data` | |\n| `actor` | |\n# Other\n| `x` | |\n")
        self.assert_findings(schema)
        self.write(schema.PAGE, "## store.events\n| `position` | |\n| `datum` | |\n| `actor` | |\n## store.gone\n")
        self.assert_findings(schema, "store.events.data is missing", "no store.events.datum", "no store.gone")

    def test_the_version_is_the_same_everywhere(self):
        constant = '  public static let current = PackageVersion("{}")!\n'
        self.write(release.FILE, "0.2.0-dev\n")
        self.write(release.CODE, constant.format("0.2.0-dev"))
        self.write(release.IMAGE, "FROM scratch\nARG VERSION=0.2.0-dev\n")
        self.write(release.PAGE, "# Changelog\n## Unreleased\n### Added\n## 0.1.0 - 2026-11-28\n")
        self.assert_findings(release)
        self.write(release.FILE, "0.2.0\n")
        self.assert_findings(
            release, "current is not 0.2.0", "'ARG VERSION' is not 0.2.0", "begins with 'Unreleased'; for this version it is '0.2.0 - ")
        self.write(release.CODE, constant.format("0.2.0"))
        self.write(release.IMAGE, "ARG VERSION=0.2.0\n")
        self.write(release.PAGE, "## 0.2.0 - 2026-12-01\n## 0.1\n")
        self.assert_findings(release, "the section '0.1' is no release")
        self.write(release.FILE, "0.3\n")
        self.assert_findings(release, "'0.3' is not a version")
