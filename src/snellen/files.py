"""Files written whole or not at all, and values made fit for JSON."""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_whole(path: Path, *, durable: bool = False, shared: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes `path`'s place when the block ends, and goes when it raises.

    A kill at any moment leaves the old file or the new one. `durable` also flushes both to the disk, so that a power
    cut does too; `shared` names the temporary after the process, for files that several processes may write at once.
    The folder is made when it is not there. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp" if shared else f"{path.name}.tmp")
    try:
        yield temporary
        if durable:
            _flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable and os.name == "posix":
        _flush(path.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write `text` as UTF-8, whole or not at all; lone surrogates are escaped."""
    with written_whole(path, durable=durable) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def to_json(value: Any) -> str:
    """`value` as strict JSON of one-space indent, whatever it holds: see `plain_json`."""
    return json.dumps(plain_json(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def plain_json(value: Any, non_finite: Callable[[float], Any] = lambda _: None) -> Any:
    """`value` as JSON can hold it: keys text, numpy values native, anything unknown its text.

    NaN and infinities become what `non_finite` makes of them: null.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else non_finite(float(value))
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {plain_json(str(k)): plain_json(v, non_finite) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(v, non_finite) for v in value]
    if isinstance(value, set | frozenset):
        return sorted((plain_json(v, non_finite) for v in value), key=str)
    if hasattr(value, "tolist"):
        return plain_json(value.tolist(), non_finite)
    return plain_json(str(value))
