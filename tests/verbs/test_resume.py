"""An exam killed or stopped in mid-training goes on to the very losses it would have had."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.verbs.hostile import coco

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
RECIPE = ["--epochs", "4", "--set", "image_size=64", "--set", "batch_size=4", "--set", "checkpoint_seconds=0.2"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "snellen", *arguments, "--fail-on", "never"]


def finish(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        command(*arguments), cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def losses(run: Path) -> list[tuple[int, float]]:
    lines = (run / "steps.jsonl").read_text().splitlines() if (run / "steps.jsonl").exists() else []
    return [(entry["step"], entry["loss"]) for line in lines if line.endswith("}") for entry in [json.loads(line)]]


def stop_in_training(signal_number: int, run: Path, *arguments: str, cwd: Path) -> tuple[int, str]:
    """Start an exam, send the signal after a checkpoint and some steps more; returns exit code and standard error."""
    victim = subprocess.Popen(
        command(*arguments), cwd=cwd, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    checkpoint = run / "checkpoints" / "last.pt"
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and victim.poll() is None and not (checkpoint.exists() and len(losses(run)) >= 9):
        time.sleep(0.005)
    victim.send_signal(signal_number)
    _, told = victim.communicate(timeout=60)
    return victim.returncode, told


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco(tmp_path_factory.mktemp("resume") / "scenes", 24)


@pytest.fixture(scope="module")
def whole(scenes: Path) -> list[tuple[int, float]]:
    """Losses of the exam that nothing stops."""
    finish("exam", str(scenes), "--out", "whole", *RECIPE, cwd=scenes.parent)
    steps = losses(scenes.parent / "whole")
    assert [step for step, _ in steps] == list(range(24))
    return steps


def test_a_killed_exam_goes_on_to_the_same_losses(scenes: Path, whole: list[tuple[int, float]]) -> None:
    here = scenes.parent
    code, _ = stop_in_training(
        signal.SIGKILL, here / "killed", "exam", str(scenes), "--out", "killed", *RECIPE, cwd=here
    )
    assert code == -signal.SIGKILL
    assert 0 < len(losses(here / "killed")) < len(whole)
    # The run knows its recipe: nothing of it has to be said again.
    finish("exam", str(scenes), "--out", "killed", "--resume", cwd=here)
    assert losses(here / "killed") == whole
    assert (here / "killed" / "report.html").is_file()
    assert (here / "killed" / "scores.json").read_text() == (here / "whole" / "scores.json").read_text()


def test_ctrl_c_saves_says_how_to_go_on_and_that_works(scenes: Path, whole: list[tuple[int, float]]) -> None:
    here = scenes.parent
    code, told = stop_in_training(
        signal.SIGINT, here / "paused", "exam", str(scenes), "--out", "paused", *RECIPE, cwd=here
    )
    assert code == 130, told
    assert (here / "paused" / "checkpoints" / "last.pt").is_file()
    assert not (here / "paused" / "report.html").exists(), "a stopped exam does not go on to a report"
    assert "Traceback" not in told
    last = told.strip().splitlines()[-1]
    words = shlex.split(last.partition("go on with: ")[2])
    assert words[0] == "snellen", last
    finish(*words[1:], cwd=here)
    assert losses(here / "paused") == whole


def test_a_run_is_not_resumed_on_another_dataset(scenes: Path, whole: list[tuple[int, float]]) -> None:
    here = scenes.parent
    other = coco(here / "other", 22)
    done = subprocess.run(
        command("exam", str(other), "--out", "whole", "--resume"),
        cwd=here, env=ENVIRONMENT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "the dataset is not the one this run began with" in done.stderr.splitlines()[-1]
    assert losses(here / "whole") == whole
