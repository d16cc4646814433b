"""The result as workflow commands, which GitHub Actions shows beside the lines they name."""

from snellen.findings.severity import Severity
from snellen.report.causes import sentence
from snellen.report.files import by_rule_and_file, from_working_folder
from snellen.report.plain import plain
from snellen.result import Result

COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def render_github(result: Result) -> str:
    """One command per rule and file, most severe first, as a step shows only the first ten of a kind."""
    lines = []
    for entry in by_rule_and_file(result.verdict.findings):
        properties = {"title": f"{entry.rule} ({entry.code})"}
        if entry.path:
            properties = {"file": plain(from_working_folder(result, entry.path), 1000)} | properties
        if entry.line is not None:
            properties["line"] = str(entry.line)
        told = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
        lines.append(f"::{COMMANDS[entry.severity]} {told}::{_data(entry.message)}")
    lines.append(_data(f"{plain(result.subject)}: {sentence(result.verdict)}"))
    return "\n".join(lines) + "\n"


def _data(text: str) -> str:
    """Escaped as the runner's command parser unescapes it; a leading `::` cannot begin another command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
