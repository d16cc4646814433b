"""Networks of libraries that need not be installed, built without weights and without a download."""

import importlib

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import snellen
from snellen.network.examine import examine
from snellen.network.resolve import load_model
from snellen.network.shadow import ExamineError

PACKAGES = {"smp": "segmentation_models_pytorch", "transformers": "transformers"}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def _needs(spec: str) -> None:
    package = PACKAGES[spec.partition(":")[0]]
    pytest.importorskip(package)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("spec", "params"),
    [
        ("smp:Unet/resnet34", 24_436_369),
        ("smp:fpn/mobilenet_v2", 4_215_425),
        ("transformers:vit", 86_389_248),
        ("transformers:resnet", 23_508_032),
        ("transformers:segformer", 3_319_392),
    ],
)
def test_their_networks_have_the_cost_that_pytorch_counts(spec: str, params: int) -> None:
    _needs(spec)
    model = load_model(spec).eval()
    facts = examine(model, (1, 3, 224, 224))
    counter = FlopCounterMode(display=False)
    with counter:
        model(torch.empty(1, 3, 224, 224, device="meta"))
    assert facts.macs * 2 == counter.get_total_flops()
    assert facts.params == params
    assert facts.uncounted_operators == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("spec", ["smp:Unet/resnet18", "transformers:vit"])
def test_the_head_has_the_classes_asked_for(spec: str) -> None:
    _needs(spec)
    facts = snellen.inspect(spec, num_classes=7).network
    assert facts is not None
    heads = [row for row in facts.layers.iter_rows(named=True) if row["output_shape"] and 7 in row["output_shape"]]
    assert heads


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("spec", ["smp:Unett/resnet34", "smp:Unet/resnet3444", "transformers:vitt"])
def test_their_unknown_names_are_told_in_one_line(spec: str) -> None:
    _needs(spec)
    with pytest.raises(ExamineError) as told:
        load_model(spec)
    assert "\n" not in str(told.value)
    assert "vit'" in str(told.value) or "vailable" in str(told.value) or "supported" in str(told.value)


@pytest.mark.parametrize("spec", ["smp:Unet/resnet18", "transformers:vit"])
def test_a_library_that_is_not_there_is_named_with_how_to_get_it(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ExamineError, match="is not installed"):
        load_model(spec)
