"""The result as JSON: what machines read, and what `findings.json` in a run folder holds."""

from typing import Any

from snellen.evaluation.facts import ScoreFacts
from snellen.facts import Facts
from snellen.files import to_json
from snellen.findings.severity import Severity
from snellen.report.causes import root_causes, sentence
from snellen.result import Result

SCHEMA_VERSION = 1
"""Rises when a field changes its meaning or goes; new fields do not raise it."""

_COUNT = {"type": "integer", "minimum": 0}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_NUMBER = {"type": ["number", "null"]}
_TEXT = {"type": ["string", "null"]}
_SEVERITY = {"enum": [str(s) for s in Severity]}


def _record(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": [p for p in properties if p not in optional],
        "additionalProperties": False,
    }  # fmt: skip


_PLACE = _record(
    {
        "file": {"type": "string"}, "row": {"type": "integer"}, "image": {"type": "string"},
        "box": {"type": "array", "items": _NUMBER, "minItems": 4, "maxItems": 4}, "class_name": {"type": "string"},
        "split": {"type": "string"}, "layer": {"type": "string"}, "step": {"type": "integer"},
    },
    optional=("file", "row", "image", "box", "class_name", "split", "layer", "step"),
)  # fmt: skip

_FINDING = _record(
    {
        "rule": {"type": "string"}, "code": {"type": "string", "pattern": "^[A-Z]{3}[0-9]{3}$"},
        "severity": _SEVERITY, "message": {"type": "string"}, "place": _PLACE, "evidence": {"type": "object"},
        "affected": _COUNT, "of": {"type": ["integer", "null"]},
        "fix": {"anyOf": [{"type": "null"}, _record({
            "safety": {"enum": ["safe", "unsafe"]}, "title": {"type": "string"}, "edit": {"type": "object"},
        })]},
        "rank": _NUMBER, "caused_by": _TEXT, "fingerprint": {"type": "string"},
    }
)  # fmt: skip

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Snellen result",
    **_record(
        {
            "schema_version": {"const": SCHEMA_VERSION},
            "subject": {"type": "string"},
            "verdict": _record(
                {
                    "sentence": {"type": "string"}, "healthy": {"type": "boolean"}, "fails": {"type": "boolean"},
                    "fail_on": {"type": "string"}, "counts": _record({str(s): _COUNT for s in Severity}),
                    "suppressed": _COUNT, "in_baseline": _COUNT, "settings_origin": {"type": "string"},
                    "ran": {"type": "array", "items": {"type": "string"}}, "skipped": _TEXTS,
                    "options": {"type": "object", "additionalProperties": {"type": "object"}},
                }
            ),
            "root_causes": {"type": "array", "items": _record({
                "rule": {"type": "string"}, "code": {"type": "string"}, "severity": _SEVERITY, "findings": _COUNT,
                "affected": _COUNT, "of": {"type": ["integer", "null"]}, "message": {"type": "string"},
                "consequences": {"type": "object", "additionalProperties": _COUNT},
            })},
            "findings": {"type": "array", "items": _FINDING},
            "facts": {"type": "object", "additionalProperties": _record({
                "scalars": {"type": "object"}, "rows": {"type": "object", "additionalProperties": _COUNT},
            })},
            "scores": {"type": "array", "items": _record({
                "metric": {"type": "string"}, "value": _NUMBER, "low": _NUMBER, "high": _NUMBER,
                "undefined": _TEXT,
            })},
            "recipe": {"type": "object"}, "environment": _TEXTS,
            "seconds": {"type": "object", "additionalProperties": {"type": "number"}},
        }
    ),
}  # fmt: skip
"""JSON schema of what `render_json` writes. Inside the objects named scalars, evidence, edit and options keys vary."""


def render_json(result: Result) -> str:
    """One JSON object that conforms to `SCHEMA`; NaN and infinities are null. Raises nothing on odd names."""
    verdict = result.verdict
    document = {
        "schema_version": SCHEMA_VERSION,
        "subject": result.subject,
        "verdict": {
            "sentence": sentence(verdict),
            "healthy": not any(f.severity > Severity.INFO for f in verdict.findings),
            "fails": verdict.fails(),
            "fail_on": verdict.fail_on,
            "counts": {str(s): verdict.count(s) for s in Severity},
            "suppressed": verdict.suppressed,
            "in_baseline": verdict.in_baseline,
            "settings_origin": verdict.settings_origin,
            "ran": list(verdict.ran),
            "skipped": dict(verdict.skipped),
            "options": dict(verdict.options),
        },
        "root_causes": [
            {
                "rule": c.rule, "code": c.code, "severity": str(c.severity), "findings": len(c.findings),
                "affected": c.affected, "of": c.of, "message": c.worst.message,
                "consequences": {follow[0].rule: len(follow) for follow in c.consequences},
            }
            for c in root_causes(verdict)
        ],
        "findings": [f.to_dict() for f in verdict.findings],
        "facts": {
            name: {"scalars": facts.scalars(), "rows": {t: len(getattr(facts, t)) for t in facts.TABLES}}
            for name, facts in _facts(result).items()
        },
        "scores": _scores(result.scores),
        "recipe": dict(result.recipe),
        "environment": {name: str(value) for name, value in result.environment.items()},
        "seconds": dict(result.seconds),
    }  # fmt: skip
    return to_json(document)


def _facts(result: Result) -> dict[str, Facts]:
    named = {"data": result.data, "network": result.network, "run": result.run, "scores": result.scores}
    return {name: facts for name, facts in named.items() if facts is not None}


def _scores(scores: ScoreFacts | None) -> list[dict[str, Any]]:
    return scores.scores.to_dicts() if scores is not None else []
