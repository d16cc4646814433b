"""JSON, SARIF and workflow commands: what machines read must parse, whatever the dataset's author wrote."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import jsonschema
import pytest

from snellen.findings import Place, Severity
from snellen.report.github import render_github
from snellen.report.json import SCHEMA, render_json
from snellen.report.sarif import MAX_RESULTS, render_sarif
from snellen.result import Result
from tests.report.subjects import finding, hostile, result, verdict


@pytest.mark.parametrize("subject", [result, hostile])
def test_json_conforms_to_its_schema(subject, tmp_path: Path) -> None:
    text = render_json(subject(tmp_path))
    text.encode()
    assert "NaN" not in text
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(text), SCHEMA)


def test_json_round_trips_findings_and_scores(tmp_path: Path) -> None:
    subject = result(tmp_path)
    read = json.loads(render_json(subject))
    assert [f["fingerprint"] for f in read["findings"]] == [f.fingerprint for f in subject.verdict.findings]
    first, told = subject.verdict.findings[0], read["findings"][0]
    assert told == json.loads(json.dumps(first.to_dict()))
    assert read["verdict"]["counts"] == {"info": 1, "warning": 2, "error": 25}
    assert read["root_causes"][0]["consequences"] == {"low-ap75": 1}
    assert read["scores"] == [
        {"metric": "mAP", "value": 0.4, "low": 0.3, "high": 0.5, "undefined": None},
        {"metric": "mAP_large", "value": None, "low": None, "high": None, "undefined": None},
    ]
    assert read["facts"]["data"]["rows"]["boxes"] == 18


def test_json_of_odd_evidence(tmp_path: Path) -> None:
    odd = {"nan": math.nan, "inf": [math.inf], "set": {2, 1}, "path": Path("a"), 3: "number as a key"}
    subject = Result(subject="s", verdict=verdict([finding("r", "ANN003", message="m", evidence=odd)]))
    read = json.loads(render_json(subject))
    assert read["findings"][0]["evidence"] == {
        "nan": None, "inf": [None], "set": [1, 2], "path": "a", "3": "number as a key",
    }  # fmt: skip
    jsonschema.validate(read, SCHEMA)


def sarif_schema() -> dict[str, object]:
    """The parts of SARIF 2.1.0 that a reader relies on."""
    text = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
    uri = {"type": "string", "pattern": r"^[^\s<>\"{}|\\^`]+$"}
    location = {
        "type": "object", "required": ["physicalLocation"],
        "properties": {"physicalLocation": {
            "type": "object", "required": ["artifactLocation"],
            "properties": {
                "artifactLocation": {"type": "object", "required": ["uri"], "properties": {"uri": uri}},
                "region": {"type": "object", "properties": {"startLine": {"type": "integer", "minimum": 1}}},
            },
        }},
    }  # fmt: skip
    entry = {
        "type": "object", "required": ["ruleId", "level", "message", "locations"],
        "properties": {
            "ruleId": {"type": "string", "pattern": "^[A-Z]{3}[0-9]{3}$"},
            "level": {"enum": ["none", "note", "warning", "error"]}, "message": text,
            "locations": {"type": "array", "minItems": 1, "items": location},
            "partialFingerprints": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }  # fmt: skip
    rule = {
        "type": "object",
        "required": ["id", "name", "shortDescription", "fullDescription", "help"],
        "properties": {"shortDescription": text, "fullDescription": text, "help": text},
    }
    driver = {
        "type": "object", "required": ["name", "semanticVersion", "rules"],
        "properties": {"rules": {"type": "array", "items": rule}},
    }  # fmt: skip
    run = {
        "type": "object", "required": ["tool", "results"],
        "properties": {
            "tool": {"type": "object", "required": ["driver"], "properties": {"driver": driver}},
            "results": {"type": "array", "maxItems": MAX_RESULTS, "items": entry},
        },
    }  # fmt: skip
    return {
        "type": "object", "required": ["version", "$schema", "runs"],
        "properties": {"version": {"const": "2.1.0"}, "runs": {"type": "array", "minItems": 1, "items": run}},
    }  # fmt: skip


@pytest.mark.parametrize("subject", [result, hostile])
def test_sarif_has_the_essential_structure(subject, tmp_path: Path) -> None:
    log = json.loads(render_sarif(subject(tmp_path)))
    jsonschema.validate(log, sarif_schema())
    run = log["runs"][0]
    for entry in run["results"]:
        if "ruleIndex" in entry:
            assert run["tool"]["driver"]["rules"][entry["ruleIndex"]]["id"] == entry["ruleId"]


def test_sarif_gathers_by_rule_and_file(tmp_path: Path) -> None:
    results = json.loads(render_sarif(result(tmp_path)))["runs"][0]["results"]
    boxes = [r for r in results if r["ruleId"] == "ANN003"]
    assert len(boxes) == 6
    assert sum(r["properties"]["findings"] for r in boxes) == 25
    assert boxes[0]["message"]["text"] == "right edge 1.24 > 1.00 (+ 4 more in this file)"
    location = boxes[0]["locations"][0]["physicalLocation"]
    assert location["region"] == {"startLine": 5}
    assert unquote(location["artifactLocation"]["uri"]).endswith("/labels/000.txt")
    assert len({r["partialFingerprints"]["snellenRuleAndFile/v1"] for r in results}) == len(results)


def test_sarif_fingerprints_survive_changed_numbers(tmp_path: Path) -> None:
    def prints(message: str, row: int) -> object:
        place = Place(file="labels/a.txt", row=row)
        one = Result(subject="s", verdict=verdict([finding("r", "ANN003", message=message, place=place)]))
        return json.loads(render_sarif(one))["runs"][0]["results"][0]["partialFingerprints"]

    assert prints("1.15 > 1", 4) == prints("1.17 > 1", 9)


def test_sarif_rows_of_json_files_are_no_lines() -> None:
    places = [Place(file="a.json", row=7), Place(file="a.txt", row=7)]
    found = [finding("r", "ANN003", message="m", place=p) for p in places]
    results = json.loads(render_sarif(Result(subject="s", verdict=verdict(found))))["runs"][0]["results"]
    assert ["region" in r["locations"][0]["physicalLocation"] for r in results] == [False, True]


def test_sarif_keeps_to_what_code_scanning_accepts() -> None:
    found = [
        finding("r", "ANN003", message="m", place=Place(file=f"labels/{i}.txt", row=1)) for i in range(MAX_RESULTS + 50)
    ]
    log = json.loads(render_sarif(Result(subject="s", verdict=verdict(found))))
    jsonschema.validate(log, sarif_schema())
    assert len(log["runs"][0]["results"]) == MAX_RESULTS
    assert "51 further results left out" in log["runs"][0]["results"][-1]["message"]["text"]


def test_workflow_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = result(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    lines = render_github(subject).splitlines()
    assert lines[0] == (
        "::error file=data/labels/000.txt,title=box-out-of-bounds (ANN003),line=5::"
        "right edge 1.24 > 1.00 (+ 4 more in this file)"
    )
    assert any(line.startswith("::notice title=class-imbalance (DST002)::") for line in lines)
    assert lines[-1].startswith("cells: 3 root causes")


def test_workflow_commands_cannot_be_injected(tmp_path: Path) -> None:
    subject = hostile(tmp_path)
    place = Place(file="a,b:c\n::warning::x%41.txt")
    more = finding("r", "ANN105", Severity.INFO, message="50 % of\r\nit", place=place)
    subject = replace(subject, verdict=verdict([*subject.verdict.findings, more]))
    text = render_github(subject)
    text.encode()
    lines = text.splitlines()
    assert all(re.match(r"::(error|warning|notice) [^:]*::", line) for line in lines[:-1])
    assert len(lines) == 5
    assert not lines[-1].startswith("::")
    assert "title=r (ANN105)::50 %25 of\\r\\nit" in text
    assert "a%2Cb%3Ac\\n%3A%3Awarning%3A%3Ax%2541.txt" in text
