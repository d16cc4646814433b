"""The engine: plan by needed facts, survive a crashing rule, silence what the user silenced, fold consequences."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from snellen.findings import Category, Finding, Place, Rule, RuleOptions, Severity, Tier, engine, registry
from snellen.findings.engine import Verdict, judge, required_tier
from snellen.findings.settings import LoadedSettings, Settings

PAGE = """{}

    ## What it does
    a
    ## Why is this bad?
    b
    ## How it is computed
    c
    ## Example
    d
    ## Fix
    e
    ## Known false positives
    f
    ## References
    g
    """


@dataclass
class Photos:
    """Facts of a test subject: image name -> brightness."""

    brightness: dict[str, float]
    tier: Tier = Tier.LABELS


@dataclass
class Network:
    """Other facts."""


class Dark(Rule):
    __doc__ = PAGE.format("Too dark.")
    name, code, category = "test-dark", "IMG901", Category.SUSPICIOUS

    class Options(RuleOptions):
        limit: float = 0.2
        """Brightness, 0..1."""

    def check(self, photos: Photos) -> Iterator[Finding]:
        for image, value in photos.brightness.items():
            if value < self.options.limit:
                yield Finding(message="dark", place=Place(image=image), rank=1 - value)


class Missed(Rule):
    __doc__ = PAGE.format("Missed because dark.")
    name, code, category, causes = "test-missed", "EVL901", Category.CORRECTNESS, ("test-dark",)

    def check(self, photos: Photos) -> Iterator[Finding]:
        for image in photos.brightness:
            yield Finding(message="missed", place=Place(image=image))


class Broken(Rule):
    __doc__ = PAGE.format("Crashes after one finding.")
    name, code, category = "test-broken", "IMG902", Category.STYLE

    def check(self, photos: Photos) -> Iterator[Finding]:
        yield Finding(message="before")
        raise ZeroDivisionError("by design")


class NeedsNetwork(Rule):
    __doc__ = PAGE.format("Joins two subjects.")
    name, code, category = "test-joint", "NET901", Category.STYLE

    def check(self, photos: Photos, network: Network) -> Iterator[Finding]:
        yield Finding(message="both")


class NeedsPixels(Rule):
    __doc__ = PAGE.format("Dear.")
    name, code, category, tier = "test-pixels", "IMG903", Category.STYLE, Tier.PIXELS

    def check(self, photos: Photos) -> Iterator[Finding]:
        yield Finding(message="pixels")


RULES = [Dark, Missed, Broken, NeedsNetwork, NeedsPixels]


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**registry.all_rules(), **{r.name: r for r in RULES}}
    monkeypatch.setattr(registry, "all_rules", lambda: known)
    for module in (engine,):
        monkeypatch.setattr(module, "find_rule", registry.find_rule)


def run(tmp_path: Path, rules: list[type[Rule]], facts: list[object], **settings: object) -> Verdict:
    loaded = LoadedSettings(Settings(**settings), "test", tmp_path)
    return judge(facts, loaded, rules=[r() for r in rules], data_root=tmp_path)


def test_a_finding_carries_its_rule_and_category_severity(tmp_path: Path) -> None:
    verdict = run(tmp_path, [Dark], [Photos({"a.jpg": 0.1, "b.jpg": 0.5})])
    (finding,) = verdict.findings
    assert (finding.rule, finding.code, finding.severity) == ("test-dark", "IMG901", Severity.WARNING)
    assert finding.place.image == "a.jpg"
    assert verdict.options["test-dark"] == {"limit": 0.2}


def test_consequences_fold_only_at_the_same_image(tmp_path: Path) -> None:
    verdict = run(tmp_path, [Dark, Missed], [Photos({"a.jpg": 0.1, "b.jpg": 0.5})])
    dark = next(f for f in verdict.findings if f.rule == "test-dark")
    assert [f.place.image for f in verdict.consequences(dark)] == ["a.jpg"]
    assert {(f.rule, f.place.image) for f in verdict.roots} == {("test-dark", "a.jpg"), ("test-missed", "b.jpg")}


def test_a_crashing_rule_is_a_finding_and_the_others_go_on(tmp_path: Path) -> None:
    verdict = run(tmp_path, [Broken, Dark], [Photos({"a.jpg": 0.1})])
    assert {f.rule for f in verdict.findings} == {"test-broken", "rule-crashed", "test-dark"}
    crash = next(f for f in verdict.findings if f.rule == "rule-crashed")
    assert "ZeroDivisionError: by design" in crash.message
    assert crash.severity == Severity.ERROR


def test_a_rule_without_its_facts_is_skipped_with_the_reason(tmp_path: Path) -> None:
    verdict = run(tmp_path, [NeedsNetwork, NeedsPixels], [Photos({})])
    assert verdict.findings == ()
    assert verdict.skipped == {"test-joint": "needs Network", "test-pixels": "needs pixels, only labels were read"}
    assert run(tmp_path, [NeedsNetwork], [Photos({}), Network()]).ran == ("test-joint",)


def test_planner_asks_for_no_dearer_tier_than_a_rule_needs() -> None:
    assert required_tier([Dark()]) == Tier.LABELS
    assert required_tier([Dark(), NeedsPixels()]) == Tier.PIXELS


def test_per_path_ignores_and_sidecar_silence_with_a_reason(tmp_path: Path) -> None:
    photos = Photos({"night/a.jpg": 0.1, "day/b.jpg": 0.1, "day/c.jpg": 0.1})
    (tmp_path / ".snellen-ignore").write_text("day/b.jpg test-dark  # the lamp was off\n")
    verdict = run(tmp_path, [Dark], [photos], per_path_ignores={"night/*": ("test-dark",)})
    assert [f.place.image for f in verdict.findings] == ["day/c.jpg"]
    assert verdict.suppressed == 2


def test_bad_and_unused_suppressions_are_findings(tmp_path: Path) -> None:
    lines = ["x.jpg test-dark # gone", "y.jpg test-dark", "z.jpg no-such-rule # why", "only-a-path # why"]
    (tmp_path / ".snellen-ignore").write_text("\n".join(lines))
    rules = [Dark, registry.all_rules()["unused-suppression"], registry.all_rules()["unusable-suppression"]]
    verdict = run(tmp_path, rules, [Photos({"a.jpg": 0.9})])
    assert sorted((f.rule, f.place.row) for f in verdict.findings) == [
        ("unusable-suppression", 2),
        ("unusable-suppression", 3),
        ("unusable-suppression", 4),
        ("unused-suppression", 1),
    ]


def test_a_linked_sidecar_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("* hunter2  # words of another file\n")
    (tmp_path / ".snellen-ignore").symlink_to(tmp_path / "secret")
    rules = [Dark, registry.all_rules()["unusable-suppression"]]
    verdict = run(tmp_path, rules, [Photos({"a.jpg": 0.9})])
    assert [f.rule for f in verdict.findings] == ["unusable-suppression"]
    assert "hunter2" not in verdict.findings[0].message


def test_order_is_roots_first_then_severity_then_rank(tmp_path: Path) -> None:
    verdict = run(tmp_path, [Dark, Missed], [Photos({"a.jpg": 0.15, "b.jpg": 0.05, "c.jpg": 0.9})])
    assert [(f.rule, f.place.image) for f in verdict.roots] == [
        ("test-missed", "c.jpg"),
        ("test-dark", "b.jpg"),
        ("test-dark", "a.jpg"),
    ]


def test_exit_level(tmp_path: Path) -> None:
    verdict = run(tmp_path, [Dark], [Photos({"a.jpg": 0.1})])
    assert not verdict.fails()
    assert verdict.fails("warning")
    assert verdict.fails("info")
    assert not verdict.fails("never")


def test_fingerprint_ignores_numbers_and_steps() -> None:
    one = Finding(rule="r", message="0.1", place=Place(image="a", step=3))
    two = Finding(rule="r", message="0.2", place=Place(image="a", step=9))
    other = Finding(rule="r", message="0.1", place=Place(image="b", step=3))
    assert one.fingerprint == two.fingerprint != other.fingerprint
