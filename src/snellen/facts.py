"""The base of all facts: plain tables with documented columns and a few scalars, saved as Parquet and JSON.

An examiner builds them, rules read them, reports show them. They hold no judgement and no live object.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl

from snellen.files import plain_json, write_text, written_whole

Schema = Mapping[str, tuple[pl.DataType, str]]
"""Column -> (dtype, what it holds: unit, range, meaning of null)."""


def table(schema: Schema, rows: Iterable[Mapping[str, Any]] = ()) -> pl.DataFrame:
    """Build a table of exactly `schema`'s columns and dtypes; keys a row lacks are null, unknown keys an error."""
    dtypes = {name: dtype for name, (dtype, _) in schema.items()}
    rows = list(rows)
    for row in rows:
        if not dtypes.keys() >= row.keys():
            raise KeyError(f"columns not in the schema: {sorted(row.keys() - dtypes.keys())}")
    return pl.DataFrame([pl.Series(name, [row.get(name) for row in rows], dtype) for name, dtype in dtypes.items()])


@dataclass(frozen=True)
class Facts:
    """Subclasses are frozen dataclasses whose table fields are listed in `TABLES`; other fields are JSON scalars."""

    TABLES: ClassVar[Mapping[str, Schema]] = {}

    def __post_init__(self) -> None:
        """Refuse a table whose columns are not those documented."""
        for name, schema in self.TABLES.items():
            got = getattr(self, name).schema
            want = {column: dtype for column, (dtype, _) in schema.items()}
            if dict(got) != want:
                odd = {c: (got.get(c), want.get(c)) for c in got.keys() | want.keys() if got.get(c) != want.get(c)}
                raise TypeError(f"{type(self).__name__}.{name}: columns (got, documented) {odd}")

    @classmethod
    def empty_tables(cls) -> dict[str, pl.DataFrame]:
        """Every table with its columns and no rows."""
        return {name: table(schema) for name, schema in cls.TABLES.items()}

    def scalars(self) -> dict[str, Any]:
        """The fields that are not tables."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in self.TABLES}

    def save(self, folder: Path) -> None:
        """Write `<table>.parquet` and `scalars.json` into `folder`, each whole or not at all.

        JSON has no NaN and no infinity: they are written as `{"non-finite": "nan"}`, which `load` turns back.
        """
        for name in self.TABLES:
            with written_whole(folder / f"{name}.parquet") as temporary:
                getattr(self, name).write_parquet(temporary)
        scalars = plain_json(self.scalars(), lambda value: {"non-finite": str(value)})
        write_text(folder / "scalars.json", json.dumps(scalars, indent=1, ensure_ascii=False, allow_nan=False))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises OSError when a part is missing, TypeError when the columns changed since."""
        text = (folder / "scalars.json").read_text(encoding="utf-8")
        scalars = json.loads(text, object_hook=lambda d: float(d["non-finite"]) if d.keys() == {"non-finite"} else d)
        return cls(**{name: pl.read_parquet(folder / f"{name}.parquet") for name in cls.TABLES}, **scalars)
