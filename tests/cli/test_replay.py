from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import snellen
from snellen.cli.app import app
from snellen.errors import UseError
from snellen.training import default_recipe
from snellen.training.trainer import train
from snellen.training.watching import WatchedTraining
from tests.training.subjects import digit_images


def test_a_run_of_a_recipe_is_replayed(tmp_path: Path) -> None:
    data = digit_images(tmp_path / "data", 40)
    recipe = default_recipe(data, epochs=1, batch_size=16)
    folder = tmp_path / "run"

    class Bursts(WatchedTraining):
        """Makes weights infinite before the second step, as a bad update would."""

        def step(self, **known: object) -> None:  # type: ignore[override]
            super().step(**known)  # type: ignore[arg-type]
            with torch.no_grad():
                next(p for _, p in self.watch.model.named_parameters() if p.dim() > 1)[0].fill_(torch.inf)

    trained = train(data, recipe, folder, recorder_factory=lambda m, o: Bursts(m, o, folder))
    assert trained.stop_reason == "diverged"
    told = CliRunner().invoke(app, ["replay", str(folder)])
    assert told.exit_code == 1
    assert "held NaN or infinity before the step" in told.output
    assert told.output.startswith("step 1: ")


def test_a_model_of_ones_own_needs_python(tmp_path: Path) -> None:
    class Roots(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sqrt()

    model = nn.Sequential(nn.Linear(4, 2), Roots())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with snellen.watch(model, optimizer, tmp_path / "run") as watch:
        loss = model(torch.randn(8, 4)).mean()
        loss.backward()
        optimizer.step()
        watch.step(loss=loss)
    told = CliRunner().invoke(app, ["replay", str(tmp_path / "run")])
    assert "snellen.replay(" in str(told.exception)
    again = snellen.replay(tmp_path / "run", model)
    assert (again.layer, again.operator) == ("1", "aten.sqrt")
    with pytest.raises(UseError, match="nothing to replay"):
        snellen.replay(tmp_path, model)
