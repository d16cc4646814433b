"""Fixes mend what they say, twice is once, and nothing of the user's is lost."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from snellen.cli.app import app
from snellen.errors import UseError
from snellen.fixes.journal import Journal, latest, undo
from snellen.verbs.check import check
from snellen.verbs.convert import convert
from snellen.verbs.fix import fix
from tests.rules.data_injections import SICK, detection

FIXABLE = (
    "non-finite-coordinate", "degenerate-box", "box-out-of-bounds", "box-outside-image", "duplicate-box",
    "unnormalized-coordinates", "malformed-label", "unknown-class-id", "missing-image", "orphan-label",
    "image-size-mismatch", "unknown-image-id", "duplicate-image", "split-leak-exact", "missing-split-target",
    "unreadable-image",
)  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rules_of(folder: Path) -> set[str]:
    return {f.rule for f in check(folder, fast=True, cache=False).verdict.findings}


@pytest.mark.parametrize("name", FIXABLE)
def test_the_planted_defect_is_mended_and_no_other_appears(name: str, tmp_path: Path) -> None:
    root = Path(SICK[name](tmp_path)[0].root)
    before, found = contents(root), rules_of(root)
    assert name in found
    done = fix(root, tmp_path / "fixed", unsafe=True, fast=True)
    assert done.made[name] >= 1
    assert contents(root) == before
    after = rules_of(tmp_path / "fixed")
    assert name not in after
    assert after <= found
    again = fix(tmp_path / "fixed", tmp_path / "twice", unsafe=True, fast=True)
    assert again.made == {}
    assert contents(tmp_path / "twice") == contents(tmp_path / "fixed")


@cache
def _clean(form: str) -> Path:
    """A clean set of fourteen scenes in one format; what is planted into copies of it goes with them."""
    from snellen.data.digits import build_digits

    folder = Path(tempfile.mkdtemp())
    digits = build_digits(folder, train_scenes=10, val_scenes=4)
    if form != "coco":
        convert(digits.detection, folder / form, to=form)
        return folder / form
    return digits.detection


def _coco(root: Path, change: Callable[[list[dict[str, object]]], None]) -> None:
    document = json.loads((root / "train.json").read_text())
    change(document["annotations"])
    (root / "train.json").write_text(json.dumps(document))


def _lines(root: Path, pattern: str, index: int, change: Callable[[str], str]) -> None:
    paths = sorted(root.glob(pattern))
    path = paths[index % len(paths)]
    path.write_text(change(path.read_text()))


def _box(form: str, root: Path, index: int, values: tuple[str, str, str, str], again: bool = False) -> None:
    """Add a box (or, `again`, the first one of a file once more): x1 y1 x2 y2 of a 128 px scene, as text."""
    x1, y1, x2, y2 = values
    if form == "coco":

        def change(annotations: list[dict[str, object]]) -> None:
            entry = dict(annotations[index % len(annotations)])
            if not again:
                entry["bbox"] = [float(x1), float(y1), float(x2) - float(x1), float(y2) - float(y1)]
                del entry["segmentation"]
                del entry["area"]
            annotations.append({**entry, "id": 10_000 + len(annotations)})

        _coco(root, change)
    elif form == "voc":
        corners = zip(("xmin", "ymin", "xmax", "ymax"), values, strict=True)
        box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in corners)
        entry = f"<object><name>3</name><bndbox>{box}</bndbox></object>"
        if again:

            def change_text(text: str) -> str:
                first = text[text.index("  <object>") : text.index("</object>") + 9]
                return text.replace("</annotation>", f"{first}\n</annotation>")
        else:

            def change_text(text: str) -> str:
                return text.replace("</annotation>", f"{entry}\n</annotation>")

        _lines(root, "Annotations/*.xml", index, change_text)
    else:
        a, b, c, d = (float(v) / 128 for v in values)
        row = f"3 {(a + c) / 2:.17g} {(b + d) / 2:.17g} {c - a:.17g} {d - b:.17g}\n"
        _lines(root, "labels/*/*.txt", index, lambda t: t + (t.splitlines()[0] + "\n" if again else row))


PLANTS = {
    "flat": ("10", "10", "10", "30"),
    "not a number": ("nan", "10", "40", "30"),
    "outside": ("-60", "4", "-20", "30"),
    "beyond": ("100", "3.25", "150.5", "20"),
    "far beyond": ("-33", "90", "40", "180"),
}


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["coco", "voc", "yolo"]),
    st.lists(st.tuples(st.sampled_from([*PLANTS, "again"]), st.integers(0, 30)), min_size=1, max_size=6),
)
def test_any_mix_of_defects_is_mended_in_every_format(form: str, plants: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "sick")
        shutil.copytree(_clean(form), root)
        clean = rules_of(root)
        for name, index in plants:
            _box(form, root, index, PLANTS.get(name, PLANTS["flat"]), again=name == "again")
        before = contents(root)
        done = fix(root, Path(folder, "fixed"), unsafe=True, fast=True)
        assert sum(done.made.values()) >= 1
        assert rules_of(Path(folder, "fixed")) <= clean
        assert fix(Path(folder, "fixed"), unsafe=True, fast=True).patch == b""
        # In place, and back again.
        other = fix(root, in_place=True, unsafe=True, fast=True)
        assert other.made == done.made
        fixed = contents(Path(folder, "fixed"))
        assert {k: v for k, v in contents(root).items() if not k.startswith(".snellen-undo")} == fixed
        undo(latest(root))
        assert contents(root) == before


def test_safe_fixes_leave_what_could_have_been_meant_and_say_how_to_get_it(tmp_path: Path) -> None:
    root = detection(tmp_path)
    _coco(root, lambda a: a.append({**a[0], "id": 77_777}))
    _coco(root, lambda a: a[5].update(bbox=[1, 1, 0, 5]))
    done = fix(root, tmp_path / "fixed", fast=True)
    assert done.made == {"duplicate-box": 1}
    assert done.left == {("degenerate-box", "could drop or move something that was meant: add --unsafe-fixes"): 1}
    assert done.files == ["train.json"]
    assert "1  degenerate-box: could drop or move something that was meant: add --unsafe-fixes" in str(done)


def test_a_patch_applies_and_changes_nothing_itself(tmp_path: Path) -> None:
    root = detection(tmp_path)
    _coco(root, lambda a: a[5].update(bbox=[1, 1, 0, 5]))
    before = contents(root)
    answer = CliRunner().invoke(app, ["check", str(root), "--fast", "--diff", "--unsafe-fixes"])
    assert contents(root) == before
    assert answer.exit_code == 0
    assert answer.stdout.startswith("--- a/train.json\n+++ b/train.json\n@@ ")
    if shutil.which("patch"):
        subprocess.run(["patch", "-p1"], input=answer.stdout.encode(), cwd=root, check=True, capture_output=True)
        assert rules_of(root) == set()


def test_undo_refuses_a_file_that_was_changed_since_and_a_journal_that_leads_out(tmp_path: Path) -> None:
    root = detection(tmp_path)
    _coco(root, lambda a: a[5].update(bbox=[1, 1, 0, 5]))
    fix(root, in_place=True, unsafe=True, fast=True)
    fixed = (root / "train.json").read_bytes()
    (root / "train.json").write_bytes(fixed + b" ")
    with pytest.raises(UseError, match="was changed after the fixes"):
        undo(latest(root))
    assert (root / "train.json").read_bytes() == fixed + b" "
    journal = latest(root) / "journal.json"
    document = json.loads(journal.read_text())
    document["files"]["../../stolen"] = {"kept": "0.kept", "after": None}
    journal.write_text(json.dumps(document))
    with pytest.raises(UseError, match=r"outside of|was changed"):
        undo(latest(root))
    assert not (tmp_path.parent / "stolen").exists()
    with pytest.raises(UseError, match="no undo journal"):
        latest(tmp_path / "nowhere")


def test_removed_files_come_back_and_a_kill_before_they_moved_is_undone_too(tmp_path: Path) -> None:
    root = Path(SICK["orphan-label"](tmp_path)[0].root)
    before = contents(root)
    done = fix(root, in_place=True, unsafe=True, fast=True)
    assert done.files == ["labels/train/00004.txt"]
    assert not (root / "labels" / "train" / "00004.txt").exists()
    answer = CliRunner().invoke(app, ["check", str(root), "--undo"])
    assert answer.exit_code == 0
    assert contents(root) == before
    replace = os.replace

    def killed(source: Path, target: Path) -> None:
        if str(target).endswith(".kept"):
            raise KeyboardInterrupt
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            Journal(root).apply({"labels/train/00004.txt": None})
    undo(latest(root))
    assert contents(root) == before


def test_statistics_count_rules(tmp_path: Path) -> None:
    root = detection(tmp_path)
    _coco(root, lambda a: a[5].update(bbox=[1, 1, 0, 5]))
    answer = CliRunner().invoke(app, ["check", str(root), "--fast", "--statistics"])
    assert answer.exit_code == 1
    assert "        1         1  ANN002  degenerate-box  [1 with --unsafe-fixes]\n" in answer.stdout


def test_fix_asks_where(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["check", str(detection(tmp_path)), "--fix"])
    assert isinstance(answer.exception, UseError)
    assert "--output COPY, --diff or --in-place" in str(answer.exception)
