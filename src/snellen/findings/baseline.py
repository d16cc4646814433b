"""The baseline: findings known and accepted, so that only new ones are reported."""

import json
from collections.abc import Iterable
from pathlib import Path

from snellen.files import to_json, write_text
from snellen.findings.finding import Finding
from snellen.findings.settings import SettingsError


def read_baseline(path: Path) -> frozenset[str]:
    """Fingerprints recorded in `path`; empty when the file is not there. Raises SettingsError on another file."""
    if not path.is_file():
        return frozenset()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return frozenset(str(entry["fingerprint"]) for entry in document["findings"])
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{path}: not a baseline ({error}); write one with `snellen check --add-baseline`"
        ) from error


def write_baseline(path: Path, findings: Iterable[Finding]) -> int:
    """Record `findings` in `path`, sorted so that a diff is readable; returns how many.

    Writing what was found now, rather than adding to the file, is also how a baseline is pruned.
    """
    entries = {f.fingerprint: {"fingerprint": f.fingerprint, "rule": f.rule, "place": str(f.place)} for f in findings}
    document = {"version": 1, "findings": sorted(entries.values(), key=lambda e: (e["rule"], e["place"]))}
    write_text(path, to_json(document))
    return len(entries)
