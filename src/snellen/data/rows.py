"""Rows of a table under construction, kept column by column: a million dicts would take gigabytes."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from snellen.facts import Schema


class Rows:
    """Columns of `schema` that grow together; what a row does not say is null."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._blocks: list[pl.DataFrame] = []
        self._sealed = 0
        self._columns: dict[str, list[Any]] = {}
        self._height = 0

    def __len__(self) -> int:
        return self._sealed + self._height

    def append(self, row: Mapping[str, Any]) -> int:
        """Add one row; its position. Raises KeyError for a column that the schema lacks."""
        for name, value in row.items():
            self._column(name).append(value)
        self._height += 1
        return len(self) - 1

    def extend(self, columns: Mapping[str, Sequence[Any]] | pl.DataFrame) -> int:
        """Add as many rows as each of `columns` has values; the position of the first.

        A DataFrame is kept as it is, which is the way for a hundred thousand rows: its cells can no longer be `put`.
        Raises ValueError where columns differ in length, KeyError for a column that the schema lacks.
        """
        first = len(self)
        if isinstance(columns, pl.DataFrame):
            self._seal()
            self._add_block(columns)
            return first
        heights = {len(values) for values in columns.values()}
        if len(heights) > 1:
            raise ValueError(f"columns of {sorted(heights)} values")
        for name, values in columns.items():
            self._column(name).extend(values)
        self._height += heights.pop() if heights else 0
        return first

    def cell(self, index: int, name: str) -> Any:
        """The value of one column in row `index`."""
        if index < self._sealed:
            for block in self._blocks:
                if index < block.height:
                    return block[name][index]
                index -= block.height
        values, index = self._columns.get(name, ()), index - self._sealed
        return values[index] if index < len(values) else None

    def put(self, index: int, name: str, value: Any) -> None:
        """Replace the value of one column in row `index`. Raises IndexError for a row that came in a DataFrame."""
        column, at = self._column(name), index - self._sealed
        if at < 0:
            raise IndexError(f"row {index} is sealed")
        if at == len(column):
            column.append(value)
        else:
            column[at] = value

    def column(self, name: str) -> list[Any]:
        """All values of one column."""
        tail = self._column(name)
        tail.extend([None] * (self._height - len(tail)))
        return [value for block in self._blocks for value in block[name]] + tail if self._blocks else tail

    def frame(self) -> pl.DataFrame:
        """The table, with every column of the schema."""
        self._seal()
        if not self._blocks:
            return self._whole(pl.DataFrame())
        self._blocks = [pl.concat(self._blocks, rechunk=True)]  # in their place, so that they are not held twice
        return self._blocks[0]

    def _seal(self) -> None:
        """Turn the lists into a block."""
        if self._height:
            columns, height = self._columns, self._height
            self._columns, self._height = {}, 0
            for values in columns.values():
                values.extend([None] * (height - len(values)))
            self._add_block(pl.DataFrame([pl.Series(n, v, dtype=self._schema[n][0]) for n, v in columns.items()]))

    def _add_block(self, block: pl.DataFrame) -> None:
        self._blocks.append(self._whole(block))
        self._sealed += block.height

    def _whole(self, block: pl.DataFrame) -> pl.DataFrame:
        """`block` with every column of the schema, in its order and of its type."""
        if unknown := set(block.columns) - set(self._schema):
            raise KeyError(f"columns not in the schema: {sorted(unknown)}")
        return pl.DataFrame(
            [
                block[name].cast(dtype) if name in block.columns else pl.Series(name, [], dtype).clear(block.height)
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
