"""Networks from ONNX files and exported programs: the numbers of the modules they were made from, and no surprises."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import snellen
from snellen.errors import UseError
from snellen.network.examine import examine
from snellen.network.facts import NetworkFacts
from snellen.network.files import load_network
from snellen.network.program import load_program
from snellen.network.shadow import ExamineError
from tests.network.models import SmallNet, TextLstm, UNet

IMAGE = (torch.zeros(1, 3, 64, 64),)
NETWORKS: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]] = {
    "resnet18": lambda: (timm.create_model("resnet18"), IMAGE),
    "mobilenet": lambda: (timm.create_model("mobilenetv3_small_050"), IMAGE),
    "vit": lambda: (timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2), IMAGE),
    "convnext": lambda: (timm.create_model("convnext_atto", depths=(1, 1, 1, 1)), IMAGE),
    "unet": lambda: (UNet(), IMAGE),
    "lstm": lambda: (TextLstm(), (torch.zeros(2, 7, dtype=torch.int64),)),
}


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def network(request: Any) -> tuple[nn.Module, tuple[Tensor, ...], NetworkFacts]:
    model, inputs = NETWORKS[request.param]()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        # Exporters store equal weights once, so that all must differ.
        parameter.data.normal_(0, 0.05, generator=generator)
    return model.eval(), inputs, examine(model, inputs)


def _fields(facts: NetworkFacts) -> dict[str, tuple[float | None, float | None]]:
    rows = facts.layers.filter(facts.layers["order"].is_not_null() & (facts.layers["macs"] > 0))
    return {r["layer"]: (r["rf_height"], r["rf_width"]) for r in rows.iter_rows(named=True)}


@pytest.mark.filterwarnings("ignore")
def test_a_program_has_the_numbers_of_its_module(
    network: tuple[nn.Module, tuple[Tensor, ...], NetworkFacts], tmp_path: Path
) -> None:
    model, inputs, want = network
    torch.export.save(torch.export.export(model, inputs), tmp_path / "saved.pt2")
    found = snellen.inspect(tmp_path / "saved.pt2").network
    assert found is not None
    assert (found.macs, found.params, found.backward_macs) == (want.macs, want.params, want.backward_macs)
    assert found.training_bytes_per_image == want.training_bytes_per_image
    assert found.uncounted_operators == []
    assert found.num_outputs == want.num_outputs
    assert found.input_shape == want.input_shape
    assert _fields(found) == _fields(want)
    kinds = want.layers.filter(want.layers["kernel"].is_not_null() & (want.layers["macs"] > 0))
    told = {r["layer"]: r for r in found.layers.iter_rows(named=True)}
    for row in kinds.iter_rows(named=True):
        assert {c: told[row["layer"]][c] for c in ("kind", "kernel", "step", "dilation", "groups", "has_bias")} == {
            c: row[c] for c in ("kind", "kernel", "step", "dilation", "groups", "has_bias")
        }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [False, True])
def test_an_onnx_file_has_the_numbers_of_its_module(
    network: tuple[nn.Module, tuple[Tensor, ...], NetworkFacts], tmp_path: Path, dynamo: bool
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript") if dynamo else None
    model, inputs, want = network
    path = tmp_path / "saved.onnx"
    options: dict[str, Any] = {"external_data": False, "verbose": False} if dynamo else {}
    torch.onnx.export(model, inputs, str(path), dynamo=dynamo, **options)
    loaded, given = load_network(path)
    found = examine(loaded, given)
    assert (found.macs, found.input_shape) == (want.macs, want.input_shape)
    # Exporters fold the norms behind convolutions into these: their scales are gone.
    norms = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    assert found.params == want.params - norms
    assert found.uncounted_operators == []
    assert found.num_outputs == want.num_outputs
    assert set(_fields(found).values()) == set(_fields(want).values())
    real = tuple(torch.randint(0, 99, x.shape) if not x.is_floating_point() else torch.randn(x.shape) for x in inputs)
    with torch.no_grad():
        ours, theirs = loaded(*real), model(*real)
    theirs = next(iter(theirs.values())) if isinstance(theirs, dict) else theirs
    assert torch.allclose(ours, theirs, atol=1e-5)


def _onnx(nodes: list[Any], shape: list[Any], out: list[Any], weights: dict[str, Any], path: Path, **more: Any) -> Path:
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", kinds.FLOAT, shape)],
        [helper.make_tensor_value_info("y", kinds.FLOAT, out)],
        [onnx.numpy_helper.from_array(v, k) for k, v in weights.items()],
        value_info=more.pop("value_info", []),
    )  # fmt: skip
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]), path
    )
    return path


def test_an_unknown_operator_is_named_and_its_shape_taken_from_the_file(tmp_path: Path) -> None:
    helper = pytest.importorskip("onnx").helper
    weight = np.ones((4, 3, 3, 3), np.float32)
    nodes = [
        helper.make_node("Mystery", ["x"], ["a"], domain="mine"),
        helper.make_node("Conv", ["a", "w"], ["y"], name="/body/conv/Conv", pads=[1, 1, 1, 1]),
    ]
    known = [helper.make_tensor_value_info("a", 1, [1, 3, 10, 10])]
    path = _onnx(nodes, [1, 3, 20, 20], [1, 4, 10, 10], {"w": weight}, tmp_path / "a.onnx", value_info=known)
    facts = snellen.inspect(path).network
    assert facts is not None
    assert facts.macs == 4 * 27 * 100
    assert facts.uncounted_operators == ["onnx.mine_Mystery"]
    assert facts.receptive_field("body.conv") is None
    blind = _onnx(nodes, [1, 3, 20, 20], [1, 4, 10, 10], {"w": weight}, tmp_path / "b.onnx")
    with pytest.raises(ExamineError, match="Mystery is not known"):
        snellen.inspect(blind)


def test_open_axes_take_what_is_asked_for(tmp_path: Path) -> None:
    helper = pytest.importorskip("onnx").helper
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2], auto_pad="SAME_UPPER")
    path = _onnx(
        [node], ["n", 3, "h", "w_"], ["n", 4, None, None], {"w": np.ones((4, 3, 3, 3), np.float32)}, tmp_path / "a.onnx"
    )
    facts = snellen.inspect(str(path), input_size=31, batch=2).network
    assert facts is not None
    assert facts.input_shape == [2, 3, 31, 31]
    assert facts.macs == 2 * 16 * 16 * 4 * 27
    facts = snellen.inspect(str(path), (3, 8, 16)).network
    assert facts is not None
    assert facts.macs == 4 * 8 * 4 * 27


@pytest.mark.parametrize("name", ["absent.onnx", "absent.pt2", "text.onnx", "text.pt2", "zip.pt2"])
def test_files_that_hold_no_network_are_told_in_one_line(tmp_path: Path, name: str) -> None:
    if name.endswith(".onnx"):
        pytest.importorskip("onnx")
    path = tmp_path / name
    if name.startswith("text"):
        path.write_bytes(b"\xff\xfe not a network " * 40)
    elif name.startswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/b.txt", "nothing")
    with pytest.raises(UseError) as told:
        snellen.inspect(path)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def _changed(source: Path, target: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "saved.pt2"
    torch.export.save(torch.export.export(SmallNet().eval(), (torch.zeros(1, 3, 16, 16),)), path)
    return path


class _Touches:
    """Unpickles to the creation of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_program_that_would_run_what_it_names_is_refused(saved: Path, tmp_path: Path) -> None:
    import pickle

    witness = tmp_path / "ran"

    def swap(old: str, new: str) -> Callable[[str, bytes], bytes]:
        return lambda name, data: data.replace(old.encode(), new.encode()) if "/models/" in name else data

    def size(name: str, data: bytes) -> bytes:
        if "/models/" not in name:
            return data
        model = json.loads(data)
        first = model["graph_module"]["graph"]["tensor_values"]
        next(iter(first.values()))["sizes"][0] = {
            "as_expr": {"expr_str": f"__import__('pathlib').Path({str(witness)!r}).touch()", "hint": None}
        }
        return json.dumps(model).encode()

    def inputs(name: str, data: bytes) -> bytes:
        return pickle.dumps(_Touches(witness)) if "/sample_inputs/" in name else data

    def pickled(name: str, data: bytes) -> bytes:
        return data.replace(b'"use_pickle": false', b'"use_pickle": true') if name.endswith("_config.json") else data

    attacks = [
        (swap("torch.ops.aten.conv2d.default", "torch.os.system"), "calls 'torch.os.system'"),
        (swap("torch.ops.aten.conv2d.default", "torch.ops.aten.__class__"), "calls"),
        (swap('"conv2d"', '"x):\\n import os #"'), "holds the text|names a value"),
        (size, "computes a size"),
        (inputs, "sample inputs"),
        (pickled, "pickled"),
    ]
    for change, told in attacks:
        with pytest.raises(ExamineError, match=told):
            load_program(_changed(saved, tmp_path / "changed.pt2", change))
    assert not witness.exists()
    assert load_program(_changed(saved, tmp_path / "same.pt2", lambda _, data: data)) is not None
