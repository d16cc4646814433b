"""Files appear whole or not at all, and whatever facts and findings hold becomes strict JSON."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.files import plain_json, to_json, write_text, written_whole
from snellen.findings import Finding, Fix, FixSafety, Place
from snellen.watching.facts import RunFacts

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.floats().map(np.float64)
    | st.floats(width=32).map(np.float32)
    | st.integers(-(2**31), 2**31 - 1).map(np.int64)
    | st.booleans().map(np.bool_)
    | st.lists(st.floats(), max_size=3).map(np.array)
    | st.just(Path("a/b"))
    | st.frozensets(st.integers(), max_size=3)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


def strict(text: str) -> Any:
    """Parse JSON that must not hold the words Python adds to it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@given(VALUES, st.tuples(*[st.floats()] * 4), st.floats())
def test_a_finding_is_strict_json_whatever_a_rule_put_into_it(
    value: Any, box: tuple[float, float, float, float], rank: float
) -> None:
    finding = Finding(
        message="m\ud800",
        place=Place(image="a\udcff.jpg", box=box),
        evidence={"value": value},
        affected=np.int64(3),  # type: ignore[arg-type]
        rank=rank,
        fix=Fix(FixSafety.SAFE, "mend it", {"to": value}),
    )
    text = json.dumps(finding.to_dict(), allow_nan=False)
    assert strict(text)["affected"] == 3
    text.encode("utf-8")


@given(VALUES)
def test_what_was_written_reads_as_what_was_meant(value: Any) -> None:
    assert strict(to_json(value)) == plain_json(value)
    to_json(value).encode("utf-8")


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_facts_keep_numbers_that_json_has_not(tmp_path: Path, odd: float) -> None:
    tables: dict[str, Any] = dict(RunFacts.empty_tables())
    facts = RunFacts(**tables, output_range=[odd, 1.0], options={"lr": np.float32(0.5), "betas": (0.9,)})
    facts.save(tmp_path)
    strict((tmp_path / "scalars.json").read_text(encoding="utf-8"))
    read = RunFacts.load(tmp_path)
    assert np.array_equal(read.output_range, [odd, 1.0], equal_nan=True)
    assert read.options == {"lr": 0.5, "betas": [0.9]}
    assert isinstance(read.steps, pl.DataFrame)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_text(path, "old\udcff", durable=True)
    with pytest.raises(TypeError), written_whole(path) as temporary:
        temporary.write_text(7)  # type: ignore[arg-type]
    assert path.read_text() == "old\\udcff"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]
