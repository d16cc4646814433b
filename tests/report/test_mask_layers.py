"""Masks over pictures: the label and the prediction, each pixel in its class's colour."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import snellen
from snellen.report.html import render_html
from snellen.report.thumbnails import LAYER_COLOURS
from snellen.result import Result


def build(root: Path, images: int = 4) -> tuple[Path, Path]:
    """Dark pictures with a square labelled `cat` on the left half; the predictions call a part of it `dog`."""
    data, told = root / "data", root / "told"
    for folder in (data / "images", data / "masks", told):
        folder.mkdir(parents=True)
    (data / "classes.txt").write_text("background\ncat\ndog\n")
    for i in range(images):
        Image.fromarray(np.full((120, 160, 3), 10, np.uint8)).save(data / "images" / f"{i}.png")
        mask = np.zeros((120, 160), np.uint8)
        mask[20:100, 10:70] = 1
        Image.fromarray(mask).save(data / "masks" / f"{i}.png")
        mask[60:100, 10:70] = 2 if i else 0
        Image.fromarray(mask).save(told / f"{i}.png")
    return data, told


def evaluated(data: Path, told: Path) -> tuple[Result, str]:
    found = snellen.evaluate(told, data)
    assert found.data is not None
    return found, render_html(found, image_root=Path(found.data.root))


def tiles(text: str) -> list[tuple[np.ndarray, str]]:
    part = text[text.index("<h3>Worst images</h3>") :]
    figures = re.findall(r'<figure class="tile.*?</figure>', part, re.DOTALL)
    out = []
    for figure in figures:
        data = re.search(r"base64,([^\"]+)", figure)
        assert data
        out.append((np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1]))).convert("RGB")), figure))
    return out


def test_label_and_prediction_stand_side_by_side(tmp_path: Path) -> None:
    _, text = evaluated(*build(tmp_path))
    shown = tiles(text)
    assert len(shown) == 8
    cat, dog = (np.frombuffer(bytes.fromhex(LAYER_COLOURS[k]), np.uint8).astype(float) for k in (1, 2))
    for (true, as_labelled), (said, as_predicted) in zip(shown[::2], shown[1::2], strict=True):
        assert "as labelled" in as_labelled
        assert "as predicted: " in as_predicted
        height, width = true.shape[:2]
        below, beside = (int(0.7 * height), width // 4), (int(0.7 * height), int(0.8 * width))
        assert np.abs(true[below] - 0.55 * cat - 4.5).max() < 25
        assert said[below].max() < 60 or np.abs(said[below] - 0.55 * dog - 4.5).max() < 25
        assert true[beside].max() < 40  # the background keeps the picture
    assert any(said[int(0.7 * len(said)), said.shape[1] // 4].max() > 100 for said, _ in shown[1::2])
    assert re.search(r'class="m1"/></svg> cat', text)
    assert 'class="m0"' not in text


@pytest.mark.parametrize("harm", ["gone", "text", "outside"])
def test_a_mask_that_cannot_be_read_leaves_the_picture(harm: str, tmp_path: Path) -> None:
    data, told = build(tmp_path)
    found = snellen.evaluate(told, data)
    for path in told.iterdir():
        path.unlink()
        if harm == "text":
            path.write_text("no picture")
        elif harm == "outside":
            secret = tmp_path / f"secret{path.name}"
            Image.new("L", (160, 120), 1).save(secret)
            path.symlink_to(secret)
    shown = tiles(render_html(found, image_root=Path(found.data.root)))
    assert len(shown) == 4
    assert all("as predicted" not in figure for _, figure in shown)
