"""What may be examined, and at what: detectors, nests of tensors, exported programs, names, cards, the command line."""

import sys
from collections import UserDict
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import snellen
from snellen.cli.app import app
from snellen.errors import UseError
from snellen.network.budget import CARDS, GIB, card_bytes
from snellen.network.examine import examine
from snellen.network.resolve import load_model
from snellen.network.shadow import ExamineError
from snellen.report.inspection import folded_rows
from tests.network.models import SmallNet


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn"])
def test_detectors_are_bounded_and_the_bounds_are_told(name: str) -> None:
    facts = examine(load_model(f"torchvision:{name}"), (1, 3, 256, 256))
    assert facts.uncounted_operators == []
    assert facts.macs > 40e9
    told = " ".join(facts.assumptions or [])
    assert "non-maximum suppression keeps all of up to" in told
    assert "candidates passes its threshold" in told


@dataclass
class _Pair:
    image: Tensor
    mask: Tensor


class _Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, pair: _Pair, *, more: dict[str, list[Tensor]]) -> dict[str, Tensor]:
        return {"out": self.layer(pair.image) + self.layer(more["rest"][0]) + self.layer(pair.mask)}


def test_any_nest_of_tensors_may_be_the_input() -> None:
    inputs = {"pair": _Pair(torch.ones(3, 4), torch.ones(3, 4)), "more": {"rest": [torch.ones(3, 4)]}}
    assert examine(_Nested(), inputs).macs == examine(_Nested(), UserDict(inputs)).macs == 3 * 3 * 8
    assert float(inputs["pair"].image.sum()) == 12  # type: ignore[attr-defined]


def test_exported_programs_are_examined() -> None:
    program = torch.export.export(SmallNet().eval(), (torch.ones(1, 3, 16, 16),))
    network = snellen.inspect(program, (3, 16, 16)).network
    assert network is not None
    assert network.macs == examine(SmallNet(), (1, 3, 16, 16)).macs


def test_a_batch_costs_as_many_times() -> None:
    one, four = (snellen.inspect(SmallNet(), (3, 16, 24), batch=n).network for n in (1, 4))
    assert one is not None
    assert four is not None
    assert four.macs == 4 * one.macs
    assert four.training_bytes_per_image == pytest.approx(one.training_bytes_per_image, rel=0.01)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("keras:vgg", "timm, torchvision, smp or transformers"),
        ("resnett18", "did you mean 'resnet18'"),
    ],
)
def test_unknown_names_are_told_in_one_line(spec: str, told: str) -> None:
    with pytest.raises(ExamineError, match=told):
        load_model(spec)


@pytest.mark.parametrize("spec", ["smp:unet/resnet34", "transformers:vit"])
def test_a_package_that_is_missing_is_named(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("segmentation_models_pytorch", "transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExamineError, match=r"is not installed \(pip install (segmentation-models|transformers)"):
        load_model(spec)


def test_the_largest_batch_is_the_last_that_fits() -> None:
    facts = examine(SmallNet(), (1, 3, 64, 64))
    for optimizer, amp in (("sgd", False), ("adamw", True)):
        batch = facts.largest_batch(GIB, optimizer, amp)
        assert facts.training_memory(batch, optimizer, amp) <= GIB < facts.training_memory(batch + 1, optimizer, amp)
    assert facts.largest_batch(1000) == 0


def test_cards_by_name_and_by_size() -> None:
    assert card_bytes("RTX 4090") == card_bytes("24GiB") == CARDS["rtx-4090"] * GIB
    assert card_bytes("80 GB") == 80 * 10**9
    for text in ("24 lb", "rtx-9999", ""):
        with pytest.raises(UseError, match="card"):
            card_bytes(text)


def test_folded_rows_add_up() -> None:
    facts = examine(load_model("resnet18"), (1, 3, 64, 64))
    for depth, blocks in ((1, 10), (9, facts.layers["layer"].n_unique())):
        rows = folded_rows(facts, depth)
        assert len(rows) == blocks
        assert sum(r[3] for r in rows) == facts.params
        assert sum(r[4] for r in rows) == facts.macs
        assert sum(r[5] for r in rows) == facts.layers["elementwise"].sum()


def test_the_command_line_prints_convention_depth_and_batch() -> None:
    arguments = ["inspect", "resnet18", "--input", "3x64x64", "--convention", "fvcore", "--depth", "1", "--card", "t4"]
    shown = CliRunner().invoke(app, [*arguments, "--fail-on", "never"])
    assert shown.exit_code == 0, shown.output
    assert "as fvcore counts" in shown.output
    assert "largest batch in 16 GiB (adamw)" in shown.output
    assert "one multiply-add counts 1" in shown.output
    assert CliRunner().invoke(app, ["inspect", "resnet18", "--input", "3,64"]).exit_code == 2
