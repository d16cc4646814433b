"""The text report: stable, greppable, safe to print."""

from pathlib import Path

from snellen.findings import Place, Severity
from snellen.report.causes import root_causes
from snellen.report.plain import number, plain, share, short, size
from snellen.report.text import render_text
from snellen.result import Result
from tests.report.subjects import finding, hostile, result, verdict


def test_leads_with_the_verdict_then_root_causes(tmp_path: Path) -> None:
    lines = render_text(result(tmp_path)).splitlines()
    assert lines[0] == "cells: 3 root causes behind 28 findings: 1 error, 1 warning, 1 note."
    assert lines[2] == "1. error  box-out-of-bounds (ANN003)  25 findings, 25 of 500 (5 %)"


def test_one_line_per_finding_with_place_rule_and_message(tmp_path: Path) -> None:
    text = render_text(result(tmp_path))
    assert "labels/000.txt:5 images/000.png  box-out-of-bounds (ANN003)  right edge 1.24 > 1.00\n" in text


def test_worst_ten_places_then_a_count(tmp_path: Path) -> None:
    text = render_text(result(tmp_path))
    assert text.count("right edge") == 10
    assert "  + 15 more" in text
    assert "right edge 1.24" in text
    assert "right edge 1.0 " not in text
    assert render_text(result(tmp_path), full=True).count("right edge") == 25


def test_consequences_are_folded_under_their_cause(tmp_path: Path) -> None:
    lines = render_text(result(tmp_path)).splitlines()
    cause = next(i for i, line in enumerate(lines) if "ANN003)  25 findings" in line)
    second = next(i for i, line in enumerate(lines) if line.startswith("2. "))
    folded = next(i for i, line in enumerate(lines) if "explains 1 finding of low-ap75 (EVL110)" in line)
    assert cause < folded < second


def test_tells_totals_skipped_rules_and_what_was_silenced(tmp_path: Path) -> None:
    text = render_text(result(tmp_path))
    for told in (
        "images      6 (train 4, val 2)", "28.3 M MACs", "60 steps, 3 epochs, finished", "0.4  (0.3 – 0.5)",
        "1 rule not run: 1 needs a training run", "2 suppressed; 1 in the baseline",
        "snellen explain box-out-of-bounds",
    ):  # fmt: skip
        assert told in text, told


def test_a_fault_that_explains_much_comes_before_one_bad_record() -> None:
    box = finding("box-out-of-bounds", "ANN003", Severity.ERROR, message="m", of=1)
    many = [
        finding("duplicate-image", "SPL001", Severity.ERROR, message="m", place=Place(image=f"{i}.png"))
        for i in range(9)
    ]
    root = finding("lr-too-high", "RUN002", Severity.ERROR, message="m")
    followers = [
        finding(name, "EVL010", message="m", caused_by=root.fingerprint) for name in ("loss-flat", "below-baseline")
    ]
    order = [cause.rule for cause in root_causes(verdict([box, *many, root, *followers]))]
    assert order == ["lr-too-high", "box-out-of-bounds", "duplicate-image"]


def test_only_headline_scores_are_printed(tmp_path: Path) -> None:
    text = render_text(result(tmp_path))
    assert "mAP " in text
    assert "mAP_large" not in text


def test_healthy_and_unjudged_are_not_the_same() -> None:
    healthy = Result(subject="s", verdict=verdict([], ran=("a", "b")))
    assert render_text(healthy).startswith("s: Healthy: 2 rules looked and found nothing wrong.")
    assert "Nothing was judged" in render_text(Result(subject="s", verdict=verdict([], ran=())))


def test_output_is_stable_and_without_colour_when_piped(tmp_path: Path) -> None:
    subject = result(tmp_path)
    assert render_text(subject) == render_text(subject) == str(subject)
    assert "\x1b" not in render_text(subject)
    assert "\x1b[" in render_text(subject, color=True)


def test_hostile_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    text = render_text(hostile(tmp_path), full=True)
    text.encode()
    assert not set("\x1b\u202e\udc80\r") & set(text)
    assert "\n::error::" not in text


def test_numbers_for_people() -> None:
    assert [number(v) for v in (None, float("nan"), 3.0, 1234567, 0.00025, 0.12345, True)] == [
        "–", "NaN", "3", "1,234,567", "0.00025", "0.123", "yes",
    ]  # fmt: skip
    assert [share(v) for v in (0.0, 0.0004, 0.123, 0.9999, 1.0, 0.05)] == [
        "0 %",
        "<0.1 %",
        "12 %",
        "99.9 %",
        "100 %",
        "5 %",
    ]
    assert (short(11_200_000), size(2048), plain("a\nb\u200bc")) == ("11.2 M", "2 KiB", "a\\nb\\u200bc")
    assert len(plain("x" * 10_000)) == 400
