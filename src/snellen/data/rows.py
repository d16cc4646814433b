"""Rows of a table under construction, kept column by column: a million dicts would take gigabytes."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from snellen.facts import Schema


class Rows:
    """Columns of `schema` that grow together; what a row does not say is null."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._columns: dict[str, list[Any]] = {}
        self._height = 0

    def __len__(self) -> int:
        return self._height

    def append(self, row: Mapping[str, Any]) -> int:
        """Add one row; its position. Raises KeyError for a column that the schema lacks."""
        for name, value in row.items():
            self._column(name).append(value)
        self._height += 1
        return self._height - 1

    def extend(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Add as many rows as each of `columns` has values. Raises ValueError where they differ in length."""
        heights = {len(values) for values in columns.values()}
        if len(heights) > 1:
            raise ValueError(f"columns of {sorted(heights)} values")
        for name, values in columns.items():
            self._column(name).extend(values)
        self._height += heights.pop() if heights else 0

    def cell(self, index: int, name: str) -> Any:
        """The value of one column in row `index`."""
        values = self._columns.get(name, ())
        return values[index] if index < len(values) else None

    def put(self, index: int, name: str, value: Any) -> None:
        """Replace the value of one column in row `index`."""
        column = self._column(name)
        if index == len(column):
            column.append(value)
        else:
            column[index] = value

    def column(self, name: str) -> list[Any]:
        """All values of one column."""
        return self._column(name)

    def frame(self) -> pl.DataFrame:
        """The table, with every column of the schema."""
        return pl.DataFrame(
            [
                pl.Series(name, self._column(name), dtype=dtype)
                if name in self._columns
                else pl.Series(name, [], dtype=dtype).extend_constant(None, self._height)
                for name, (dtype, _) in self._schema.items()
            ]
        )

    def _column(self, name: str) -> list[Any]:
        """The column, as long as the table."""
        column = self._columns.get(name)
        if column is None:
            if name not in self._schema:
                raise KeyError(f"column not in the schema: {name}")
            column = self._columns[name] = []
        if len(column) < self._height:
            column.extend([None] * (self._height - len(column)))
        return column
