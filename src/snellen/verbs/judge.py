"""`judge`: run the rules over facts that are already there, such as those a Recorder took in a loop of one's own."""

from pathlib import Path

from snellen.environment import environment
from snellen.errors import UseError
from snellen.facts import Facts
from snellen.findings.engine import judge as run_rules
from snellen.findings.settings import LoadedSettings, load_settings
from snellen.result import Result
from snellen.verbs.run_folder import PARTS

FIELDS = {kind: name for name, kind in PARTS.items()}


def judge(*facts: Facts, subject: str = "facts", settings: LoadedSettings | None = None) -> Result:
    """Say what the rules find in `facts`, at most one of each kind; rules that join two kinds run when both are given.

    Raises UseError on an object that is no facts, or on two of one kind.
    """
    settings = settings or load_settings(Path.cwd())
    parts: dict[str, Facts] = {}
    for fact in facts:
        name = FIELDS.get(type(fact))
        if name is None or name in parts:
            raise UseError(f"judge: {type(fact).__name__} is {'given twice' if name else 'no facts'}")
        parts[name] = fact
    verdict = run_rules(list(facts), settings)
    return Result(subject=subject, verdict=verdict, environment=environment(), **parts)  # type: ignore[arg-type]
