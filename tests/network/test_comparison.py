"""Networks side by side, and what was published of them."""

import json
from pathlib import Path

import pytest
import timm
import torchvision

import snellen
from snellen.cli.app import app
from snellen.errors import UseError
from snellen.network.comparison import NetworkComparison
from snellen.network.published import _table, published
from snellen.report.networks import networks_json, networks_page, networks_rows
from tests.network.models import SmallNet


@pytest.fixture(scope="module")
def found() -> NetworkComparison:
    compared = snellen.compare("resnet18", "vit_tiny_patch16_224", SmallNet(), input_size=224, batch=4)
    assert isinstance(compared, NetworkComparison)
    return compared


def test_each_network_has_the_numbers_of_its_own_exam(found: NetworkComparison) -> None:
    for row, name in zip(found.networks.iter_rows(named=True), ("resnet18", "vit_tiny_patch16_224"), strict=False):
        alone = snellen.inspect(name).network
        assert alone is not None
        assert (row["parameters"], row["macs"]) == (alone.params, alone.macs)
        assert row["training_bytes"] == alone.training_memory(4)
    assert found.networks["network"].to_list() == ["resnet18", "vit_tiny_patch16_224", "SmallNet"]
    assert found.networks["rf_height"].to_list()[:2] == [435, 16]
    assert found.networks["rf_global"].to_list()[:2] == [False, True]
    assert found.networks["seconds"].null_count() == 3


def test_published_accuracies_stand_with_their_source(found: NetworkComparison) -> None:
    first, second, _ = found.networks.iter_rows(named=True)
    assert first["score"] == pytest.approx(0.70142)
    assert "torchvision weights" in first["scored"]
    assert "Cadene" in first["scored"]
    assert second["score"] is None
    assert any("not of those served today" in note for note in found.notes)


def test_every_published_name_is_one_that_can_be_inspected() -> None:
    names = {*timm.list_models(), *torchvision.models.list_models()}
    assert set(_table()) <= names
    assert all(0.5 < p.top1 < p.top5 < 1 for p in _table().values())
    assert published("torchvision:resnet50") == published("resnet50")
    assert published("resnet51") is None


def test_it_is_shown_as_text_json_a_page_and_in_a_notebook(found: NetworkComparison) -> None:
    head, rows = networks_rows(found)
    assert "time" not in head
    assert len(rows) == 3
    text = str(found)
    assert "1 MAC = one multiply-add" in text
    assert "70.1 %" in text
    told = json.loads(networks_json(found))
    assert told["networks"][0]["macs"] == 1_814_073_344
    page = networks_page(found)
    assert page.count("<svg") >= 4
    assert "1 MAC" in page
    assert "<table>" in found._repr_html_()


def test_time_is_measured_when_asked_for(tmp_path: Path) -> None:
    compared = snellen.compare(SmallNet(), SmallNet(), input_size=16, time=True)
    assert isinstance(compared, NetworkComparison)
    assert compared.networks["seconds"].null_count() == 0
    assert any(note.startswith("time: ") for note in compared.notes)


def test_names_go_through_the_command_line_and_paths_stay_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app(["compare", "resnet18", "resnet34", "--input", "3x64x64", "-f", "json"], standalone_mode=False)
    assert [n["input"] for n in json.loads(capsys.readouterr().out)["networks"]] == [[1, 3, 64, 64]] * 2
    with pytest.raises(UseError, match="holds no finished exam"):
        snellen.compare(tmp_path, tmp_path / "other")
    with pytest.raises(UseError, match="two or more"):
        snellen.compare("resnet18")
