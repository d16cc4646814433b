"""The command line as a user meets it: instant help, one-line errors, exit codes, every format."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from snellen.cli.app import VERBS, main


def snellen(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snellen", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A healthy class folder of 2 x 24 textured images."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(24):
            pixels = rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((96, 96)).save(tmp_path / "pets" / name / f"{index}.png")
    return tmp_path / "pets"


def modules_after(code: str) -> set[str]:
    probe = f"import sys\n{code}\nprint(' '.join(m for m in sys.modules if '.' not in m))"
    return set(subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.split())


def test_help_imports_nothing_heavy() -> None:
    loaded = modules_after("import snellen.cli.app, snellen.cli.common")
    assert not loaded & {"torch", "polars", "pydantic", "numpy", "cv2", "numba", "sklearn", "PIL"}


def test_checking_labels_imports_no_torch(photos: Path) -> None:
    code = f"import snellen\nresult = snellen.check({str(photos)!r}, fast=True, cache=False)\nassert result.data"
    loaded = modules_after(code)
    assert not loaded & {"torch", "numba", "sklearn"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    done = snellen(verb, "--help")
    assert done.returncode == 0
    assert f"snellen {verb}" in done.stdout.replace("__main__.py", "snellen").replace("python -m ", "")


def test_a_healthy_folder_exits_with_0(photos: Path, tmp_path: Path) -> None:
    done = snellen("check", str(photos), "--no-cache", "--fail-on", "warning", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_truncated_image_exits_with_1_and_is_named(photos: Path, tmp_path: Path) -> None:
    victim = photos / "cat" / "3.png"
    victim.write_bytes(victim.read_bytes()[:200])
    done = snellen("check", str(photos), "--no-cache", "--fail-on", "warning", cwd=tmp_path)
    assert done.returncode == 1
    assert "cat/3.png" in done.stdout
    assert "truncated-image" in done.stdout


@pytest.mark.parametrize("form", ["json", "sarif", "github", "html"])
def test_every_format_names_the_truncated_image(photos: Path, tmp_path: Path, form: str) -> None:
    victim = photos / "cat" / "3.png"
    victim.write_bytes(victim.read_bytes()[:200])
    output = tmp_path / f"out.{form}"
    done = snellen(
        "check", str(photos), "--no-cache", "-f", form, "-o", str(output), "--fail-on", "never", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    text = output.read_text()
    assert "truncated-image" in text
    if form in ("json", "sarif"):
        json.loads(text)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "/no/such/place"], "/no/such/place"),
        (["check", "."], "."),
        (["explain", "box-out-of-bound"], "did you mean box-out-of-bounds"),
        (["check", ".", "--select", "nonsense"], "no rule is called 'nonsense'"),
        (["check", ".", "--fail-on", "loud"], "expected info, warning or error"),
        (["report", "."], "holds no finished exam"),
        (["exam", ".", "--set", "lr"], "write field=value"),
    ],
)
def test_an_error_of_use_is_one_line_and_exit_2(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = snellen(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--out", "taken"], "taken: already holds something; continue that run with --resume"),
        (["--out", "file"], "is no folder; name another --out"),
        (["--out", "file/below"], "is no folder; name another --out"),
        (["--out", "pets/run"], "lies among the class folders"),
        (["--out", "none", "--resume"], "none: holds no run to go on with; leave out --resume"),
        (["--resume"], "holds no run to go on with"),
        (["--model", "nonsense"], "no network is called 'nonsense'"),
        (["--model", "resnet8"], "no network is called 'resnet8'; nearest: resnet"),
        (["--model", "ssdlite"], "no classification network is called 'ssdlite'"),
        (["--set", "nonsense=3"], "unknown field 'nonsense'"),
        (["--set", "image_size=17"], "image_size: Input should be a multiple of 16, got 17"),
        (["--set", "image_size=big"], "image_size: Input should be a valid integer"),
        (["--set", "batch_size=[1]"], "batch_size: Input should be a valid integer"),
        (["--set", "task=detection"], "a classification dataset cannot be trained on by a recipe for detection"),
        (["--epochs", "0"], "epochs: Input should be greater than or equal to 1, got 0"),
        (["--recipe", "gone.toml"], "No such file or directory: 'gone.toml'"),
    ],
)
def test_an_exam_that_cannot_be_is_one_line_exit_2_and_leaves_nothing(
    arguments: list[str],
    says: str,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "cache"))
    monkeypatch.setattr(sys, "argv", ["snellen", "exam", "pets", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert [line for line in told if line.startswith("snellen: ")] == told[-1:]
    assert says in told[-1]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_with_a_line_break_stays_on_its_line(tmp_path: Path) -> None:
    (tmp_path / "a\nb").mkdir()
    done = snellen("check", "a\nb", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "a\\nb" in done.stderr


def test_a_baseline_silences_what_was_known(photos: Path, tmp_path: Path) -> None:
    victim = photos / "cat" / "3.png"
    victim.write_bytes(victim.read_bytes()[:200])
    snellen("check", str(photos), "--no-cache", "--add-baseline", "known.json", cwd=tmp_path)
    arguments = ("check", str(photos), "--no-cache", "--baseline", "known.json", "--fail-on", "warning")
    assert snellen(*arguments, cwd=tmp_path).returncode == 0
    other = photos / "dog" / "5.png"
    other.write_bytes(other.read_bytes()[:200])
    done = snellen(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "dog/5.png" in done.stdout
    assert "cat/3.png" not in done.stdout


def test_explain_and_rules_agree() -> None:
    listed = snellen("rules").stdout
    assert "rule-crashed" in listed
    page = snellen("explain", "EXM001").stdout
    assert page.startswith("# rule-crashed (EXM001)")
    assert "## Why is this bad" in page
