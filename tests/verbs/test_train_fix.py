"""A learning rate that is far off is found, mended and compared; nothing that was there is overwritten."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from snellen.cli.app import main
from snellen.findings.settings import LoadedSettings
from snellen.training.recipe import Recipe
from snellen.verbs.train_fix import TrainFix, train_and_fix
from tests.verbs.hostile import snapshot

SETTINGS = {"epochs": 4, "batch_size": 20, "image_size": 16, "warmup_steps": 5, "jitter_scale": 0.0}


@pytest.fixture(scope="module")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 400 scans as class folders of 16 x 16 pixels, a quarter of them held out."""
    root = tmp_path_factory.mktemp("few") / "digits"
    pixels, labels = load_digits(return_X_y=True)
    for i in range(400):
        place = root / ("val" if i % 4 == 0 else "train") / str(labels[i])
        place.mkdir(parents=True, exist_ok=True)
        grey = cv2.resize((pixels[i].reshape(8, 8) * 15.9).astype(np.uint8), (16, 16))
        cv2.imwrite(str(place / f"{i:03}.png"), grey)
    return root


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2), nn.ReLU(), nn.Conv2d(12, 24, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(24 * 9, 10),
    )  # fmt: skip


def fixed(data: Path, out: Path, plain: LoadedSettings, model: nn.Module | None = None, **more: object) -> TrainFix:
    return train_and_fix(
        data, model=model or network(), out=out, settings=plain, preflight=False, **{**SETTINGS, **more}
    )


@pytest.mark.parametrize(("lr", "rule"), [(3.0, "lr-too-high"), (1e-7, "lr-too-low")])
def test_a_rate_that_is_far_off_is_mended(
    few_digits: Path, tmp_path: Path, plain: LoadedSettings, lr: float, rule: str
) -> None:
    mine = network()
    done = fixed(few_digits, tmp_path / "run", plain, mine, lr=lr)
    first = done.attempts[0]
    assert first.rule == rule
    assert first.changes["lr"][0] == lr
    assert first.better
    assert first.before is not None
    assert first.after is not None
    assert first.before < 0.5 < 0.8 < first.after
    assert done.result.folder == first.folder == tmp_path / "run-fixed"
    assert Recipe.from_toml(tmp_path / "run" / "recipe.toml").lr == lr
    assert Recipe.from_toml(first.folder / "recipe.toml").lr == first.changes["lr"][1]
    assert done.result.verdict.roots == ()
    # The caller's network is that of the run that was kept.
    best = torch.load(first.folder / "checkpoints" / "best.pt", weights_only=True)["model"]
    assert all(torch.equal(v, best[k]) for k, v in mine.state_dict().items())
    table = str(done)
    assert f"{rule}  lr {lr:g} -> {first.changes['lr'][1]:g}" in table
    assert f"kept: {first.folder}" in table


def test_a_healthy_run_is_trained_once(few_digits: Path, tmp_path: Path, plain: LoadedSettings) -> None:
    done = fixed(few_digits, tmp_path / "run", plain, lr=5e-3)
    assert done.attempts == ()
    assert str(done) == "nothing in the recipe to fix"
    assert [place.name for place in tmp_path.iterdir()] == ["run"]


def test_unsafe_changes_wait_to_be_asked_for_and_folders_in_the_way_are_left_alone(
    few_digits: Path, tmp_path: Path, plain: LoadedSettings
) -> None:
    (tmp_path / "run-fixed").mkdir()
    (tmp_path / "run-fixed" / "diary.txt").write_text("mine")
    sick = {"optimizer": "adamw", "weight_decay": 500.0, "lr": 1e-3}
    done = fixed(few_digits, tmp_path / "asked-not", plain, **sick)
    assert done.attempts == ()
    assert [r.finding.rule for r in done.left] == ["weight-decay-dominates"]
    assert "not tried: use weight_decay 0.05, for weight-decay-dominates (unsafe: with --unsafe-fixes)" in str(done)
    before = snapshot(tmp_path / "run-fixed")
    done = fixed(few_digits, tmp_path / "run", plain, unsafe=True, **sick)
    assert done.attempts[0].better
    assert done.attempts[0].folder == tmp_path / "run-fixed-2"
    assert snapshot(tmp_path / "run-fixed") == before


def test_the_command_line_wants_fix_with_unsafe_fixes(
    few_digits: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["snellen", "train", str(few_digits), "--unsafe-fixes"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "--unsafe-fixes" in capsys.readouterr().err
