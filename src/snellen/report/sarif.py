"""The result as SARIF 2.1.0, for code scanning and editors.

Code scanning keeps 5,000 results of a run and wants each to hold a rule, a place and a stable fingerprint; a dataset
can have a hundred thousand bad boxes. So the findings of one rule in one file are one result, and past the limit a
last result says what is missing.
"""

from typing import Any
from urllib.parse import quote

from snellen._version import __version__
from snellen.files import to_json
from snellen.findings.registry import all_rules
from snellen.findings.rule import HEADINGS, Rule
from snellen.findings.severity import Severity
from snellen.findings.words import plural
from snellen.report.causes import sentence
from snellen.report.files import FileFindings, by_rule_and_file, from_working_folder
from snellen.result import Result

MAX_RESULTS = 5000
SCHEMA_URI = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def render_sarif(result: Result) -> str:
    """A SARIF log with one run. Rule ids are the codes, which no renaming changes."""
    entries = by_rule_and_file(result.verdict.findings)
    shown = entries if len(entries) <= MAX_RESULTS else entries[: MAX_RESULTS - 1]
    rules = [rule for rule in all_rules().values() if rule.name in {e.rule for e in entries}]
    index = {rule.name: position for position, rule in enumerate(rules)}
    results = [_result(result, entry, index) for entry in shown]
    if len(shown) < len(entries):
        left = len(entries) - len(shown)
        text = f"{plural(left, 'further result')} left out: a log holds at most {MAX_RESULTS:,}."
        where = {"physicalLocation": {"artifactLocation": {"uri": _uri(result.subject)}}}
        results.append({"ruleId": "EXM000", "level": "note", "message": {"text": text}, "locations": [where]})
    run = {
        "tool": {
            "driver": {"name": "Snellen", "semanticVersion": __version__, "rules": [_descriptor(r) for r in rules]}
        },
        "automationDetails": {"id": f"snellen/{result.subject}/"},
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {"verdict": sentence(result.verdict), "findings": len(result.verdict.findings)},
    }
    log = {"$schema": SCHEMA_URI, "version": "2.1.0", "runs": [run]}
    return to_json(log)


def _descriptor(rule: type[Rule]) -> dict[str, Any]:
    page = rule.page()
    sections = [(h, page[h]) for h in HEADINGS if page.get(h)]
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": f"{rule.name}: {' '.join(page[''].split())}"},
        "fullDescription": {"text": " ".join(page["What it does"].split())},
        "help": {
            "text": "\n\n".join(f"{heading}\n{text}" for heading, text in sections),
            "markdown": "\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections),
        },
        "defaultConfiguration": {"level": LEVELS[rule.category.severity]},
        "properties": {"tags": [str(rule.category), rule.wing()]},
    }


def _result(result: Result, entry: FileFindings, index: dict[str, int]) -> dict[str, Any]:
    record: dict[str, Any] = {
        "ruleId": entry.code,
        "level": LEVELS[entry.severity],
        "message": {"text": entry.message},
        "partialFingerprints": {"snellenRuleAndFile/v1": entry.fingerprint},
        "locations": [_location(result, entry)],
        "properties": {"findings": len(entry.findings), "affected": sum(f.affected for f in entry.findings)},
    }
    if entry.rule in index:
        record["ruleIndex"] = index[entry.rule]
    return record


def _location(result: Result, entry: FileFindings) -> dict[str, Any]:
    """A file where there is one; else the subject, with the layer, class or split as a logical place in it."""
    path = from_working_folder(result, entry.path) if entry.path else result.subject
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(path)}}
    if entry.line is not None:
        physical["region"] = {"startLine": entry.line}
    location: dict[str, Any] = {"physicalLocation": physical}
    place = str(entry.findings[0].place)
    if not entry.path and place:
        location["logicalLocations"] = [{"fullyQualifiedName": place}]
    return location


def _uri(path: str) -> str:
    encoded = quote(path.encode("utf-8", "backslashreplace"))
    return f"file://{encoded}" if path.startswith("/") else encoded
