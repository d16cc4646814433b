import math
from pathlib import Path

import pytest

from snellen.watching.read import LogError, read_epochs, read_steps


def test_steps_of_our_own_log(tmp_path: Path) -> None:
    log = tmp_path / "steps.jsonl"
    log.write_text(
        '{"step": 0, "loss": 2.3, "lr": 0.1, "other": 1}\n\nnot json\n{"loss": NaN, "skipped": true}\n{"lr": 1}\n'
    )
    facts = read_steps(log, loss_kind="cross-entropy")
    assert facts.steps["step"].to_list() == [0, 1]
    assert facts.steps["loss"][0] == 2.3
    assert math.isnan(facts.steps["loss"][1])
    assert facts.steps["skipped"].to_list() == [None, True]
    assert facts.loss_kind == "cross-entropy"
    assert facts.events["kind"].to_list() == ["unreadable-line"] * 2


def test_epochs_of_a_foreign_csv(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("epoch, train_loss, val_loss\n0,2.0,2.1\n1,1.0,\n2,oops,1\n")
    facts = read_epochs(log)
    assert facts.epochs["train_loss"].to_list() == [2.0, 1.0]
    assert facts.epochs["val_loss"].to_list() == [2.1, None]
    assert facts.events["value"].to_list() == [4.0]


def test_a_log_that_is_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no such file"):
        read_steps(tmp_path / "absent")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(LogError, match="no column epoch and train_loss; found a, b"):
        read_epochs(tmp_path / "x.csv")
    (tmp_path / "x.jsonl").write_text("[1]\n" + "[" * 100_000 + "\n")
    with pytest.raises(LogError, match="no line holds"):
        read_steps(tmp_path / "x.jsonl")
