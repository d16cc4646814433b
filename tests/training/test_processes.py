"""Runs in processes of their own: killed and resumed, and shared by two."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}


def once(folder: Path, out: str, task: str, *more: str, processes: int = 1) -> list[str]:
    launch = [sys.executable]
    if processes > 1:
        launch += [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--local-addr=127.0.0.1",
            f"--nproc-per-node={processes}",
        ]
    return [*launch, "-m", "tests.training.run_once", str(folder / "data"), str(folder / out), task, *more]


def steps(out: Path) -> list[dict]:
    path = out / "steps.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(command: list[str]) -> None:
    done = subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_a_run_killed_in_an_epoch_goes_on_with_exactly_the_same_losses(tmp_path: Path) -> None:
    run(once(tmp_path, "whole", "classification"))
    whole = steps(tmp_path / "whole")
    victim = subprocess.Popen(
        once(tmp_path, "killed", "classification"),
        env=ENVIRONMENT,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    checkpoint = tmp_path / "killed" / "checkpoints" / "last.pt"
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not (checkpoint.exists() and len(steps(tmp_path / "killed")) >= 11):
        time.sleep(0.005)
    victim.kill()
    victim.communicate()
    before = len(steps(tmp_path / "killed"))
    assert 0 < before < len(whole)
    run(once(tmp_path, "killed", "classification", "resume"))
    assert steps(tmp_path / "killed") == whole


EXACT = 1e-6
SHARED = {
    "classification": ("classification", [], EXACT),
    "detection": ("detection", [], EXACT),
    "detection by regions": ("detection", ["model=faster-rcnn-fpn", "epochs=1"], EXACT),
    "segmentation": ("segmentation", ["epochs=1"], EXACT),
    "sharded": ("classification", ["epochs=1", "optimizer=sgd", "lr=0.01", "ema_decay=0", "sharded=true"], EXACT),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SHARED))
def test_two_processes_compute_what_one_does(tmp_path: Path, name: str) -> None:
    task, fields, limit = SHARED[name]
    run(once(tmp_path, "one", task, "double", *(f for f in fields if not f.startswith("sharded"))))
    run(once(tmp_path, "two", task, "double", *fields, processes=2))
    one, two = steps(tmp_path / "one"), steps(tmp_path / "two")
    assert len(one) == len(two)
    gaps = [abs(a["loss"] - b["loss"]) / max(1.0, a["loss"]) for a, b in zip(one, two, strict=True)]
    print(f"{name}: largest difference {max(gaps):.2e} over {len(gaps)} steps, first {gaps[0]:.1e}")
    assert max(gaps) < limit
