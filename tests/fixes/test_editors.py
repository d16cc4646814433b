"""Edits change what they speak of and leave every other byte as it was."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.fixes import coco, voc, yolo
from snellen.fixes.edit import EditError, spliced
from snellen.fixes.json_text import elements, members, value, without
from snellen.fixes.patch import patch

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(JSON, max_size=6), st.sets(st.integers(0, 5)), st.sampled_from([None, 1]),
    st.sampled_from([(",", ":"), (" , ", " : ")]), st.booleans(),
)  # fmt: skip
def test_elements_leave_an_array_and_the_others_stay(
    entries: list[object], dropped: set[int], indent: int | None, separators: tuple[str, str], ascii_only: bool
) -> None:
    document = {"before": [1], "annotations": entries, "after": {"annotations": []}}
    text = json.dumps(document, indent=indent, separators=separators, ensure_ascii=ascii_only)
    span = members(text, 0)["annotations"]
    spans = elements(text, span[0])
    assert [repr(value(text, s)) for s in spans] == [repr(e) for e in entries]
    dropped = {d for d in dropped if d < len(entries)}
    after = json.loads(spliced(text, without(spans, dropped)))
    kept = [e for place, e in enumerate(entries) if place not in dropped]
    assert repr(after) == repr({**document, "annotations": kept})


COCO = b"""{"info": {"annotations": "no list"},
 "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 50}, {"id": "2", "file_name": "b.png"}],
 "annotations": [
  {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1.50, 2, 3e0, 4], "area": 12.0, "mine": 1.10},
  {"id": 0, "image_id": 1, "category_id": 1, "bbox": [90, 40, 30, 20], "area": 600, "segmentation":
   [[90, 40, 120, 40, 120, 60, 90, 60]]},
  {"id": 3, "image_id": "2", "category_id": 1, "bbox": [1, 2, 3, NaN]}
 ], "categories": []}\r\n"""


def test_coco_values_change_and_the_rest_stays_byte_for_byte() -> None:
    row = {"row": 2, "file": "x"}
    after = coco.edited(COCO, [{"op": "clip-box", "width": 100, "height": 50, **row}], {})
    assert after == COCO.replace(b"[90, 40, 30, 20]", b"[90, 40, 10, 10]").replace(b"600", b"100").replace(
        b"[[90, 40, 120, 40, 120, 60, 90, 60]]", b"[[90, 40, 100, 40, 100, 50, 90, 50]]"
    )
    after = coco.edited(COCO, [{"op": "set-area", "area": 9.25, "row": 1}, {"op": "set-annotation-id", "row": 2}], {})
    assert after == COCO.replace(b"12.0", b"9.25").replace(b'"id": 0', b'"id": 4')
    after = coco.edited(COCO, [{"op": "rewrite-size", "image": "a.png", "width": 64, "height": 48}], {"a.png": "1"})
    assert after == COCO.replace(b"100, ", b"64, ", 1).replace(b'"height": 50', b'"height": 48')
    after = coco.edited(COCO, [{"op": "drop-image", "image": "b.png"}], {"b.png": "2"})
    assert b"b.png" not in after
    assert b"NaN" not in after
    assert b"1.50, 2, 3e0" in after


def test_an_edit_beyond_what_is_there_is_refused() -> None:
    for edit in ({"op": "drop-box", "row": 9}, {"op": "set-area", "row": 9, "area": 1}):
        with pytest.raises(EditError, match="fewer annotations"):
            coco.edited(COCO, [edit], {})
        with pytest.raises(EditError):
            voc.edited(b"<annotation/>", [{**edit, "op": "drop-box"}])
        with pytest.raises(EditError):
            yolo.edited(b"0 1 1 1 1\n", [{**edit, "op": "drop-box"}])
    with pytest.raises(EditError, match="JSON"):
        coco.edited(b'{"annotations": [{"id": 1,]}', [{"op": "drop-box", "row": 1}], {})
    with pytest.raises(EditError, match="XML"):
        voc.edited(b"<annotation>", [{"op": "drop-box", "row": 1}])


VOC = """<?xml version="1.0" encoding="UTF-8"?>
<annotation>
\t<filename>ä.jpg</filename><size><width>9</width><height> 9 </height></size>
\t<object>
\t\t<name>dög</name><bndbox><xmin>-4</xmin><ymin>2.50</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>
\t</object>
\t<object><name>cat</name><bndbox><ymax>9</ymax><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax></bndbox></object>
</annotation>
""".encode()


def test_voc_spans_change_and_the_rest_stays_byte_for_byte() -> None:
    after = voc.edited(VOC, [{"op": "clip-box", "row": 1, "width": 20, "height": 20}])
    assert after == VOC.replace(b"-4", b"0").replace(b"30", b"20").replace(b"40", b"20")
    after = voc.edited(VOC, [{"op": "drop-box", "row": 1}])
    assert after == VOC[: VOC.index(b"\t<object>\n")] + VOC[VOC.index(b"\t<object><name>cat") :]
    after = voc.edited(VOC, [{"op": "rewrite-size", "image": "x", "width": 640, "height": 480}])
    assert after == VOC.replace(b"<width>9<", b"<width>640<").replace(b"<height> 9 <", b"<height>480<")
    with pytest.raises(EditError, match="entities"):
        voc.edited(b'<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', [{"op": "drop-box", "row": 1}])


def test_yolo_lines_change_and_the_rest_stays_byte_for_byte() -> None:
    text = b"0 0.5 0.5 0.2 0.2\r\n\n1  0.9 0.5 0.4 0.2  \r\n2 -0.1 0.5 0.5 0.5 0.5 1.2"
    assert yolo.edited(text, [{"op": "drop-box", "rows": [1]}]) == text[text.index(b"\n") + 1 :]
    after = yolo.edited(text, [{"op": "clip-box", "row": 3}, {"op": "clip-box", "row": 4}])
    assert after == b"0 0.5 0.5 0.2 0.2\r\n\n1 0.85 0.5 0.3 0.2\r\n2 0 0.5 0.5 0.5 0.5 1"
    after = yolo.edited(b"0 64 32 10 10\n0 0.5 0.5 1 1\n", [{"op": "normalize-label", "width": 100, "height": 50}])
    assert after == b"0 0.64 0.64 0.1 0.2\n0 0.5 0.5 1 1\n"
    with pytest.raises(EditError, match="pose"):
        yolo.edited(b"0 0.9 0.5 0.4 0.2 0.1 0.1 2\n", [{"op": "clip-box", "row": 1}], polygons=False)


LINES = st.lists(st.sampled_from([b"a", b"b", b"-- c", b"++ d", b"@@ e", b"f\r", b"\xff", b""]), max_size=12)


@pytest.mark.skipif(shutil.which("patch") is None, reason="needs the patch program")
@settings(max_examples=40, deadline=None)
@given(LINES, LINES, st.booleans(), st.booleans())
def test_patches_apply(before: list[bytes], after: list[bytes], ends: bool, ends_too: bool) -> None:
    old = b"\n".join(before) + b"\n" * ends
    new = b"\n".join(after) + b"\n" * ends_too
    text = patch("dir/na me.txt", old, new)
    assert bool(text) == (old != new)
    if not text or not new or not old:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "dir", "na me.txt")
        path.parent.mkdir()
        path.write_bytes(old)
        done = subprocess.run(["patch", "-p1", "--binary"], input=text, cwd=folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout
        assert path.read_bytes() == new
