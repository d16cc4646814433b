"""The callable put on a model, parameter or optimizer: timed, harmless when it fails, and left behind by copies."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any


class Ledger:
    """What watching has cost, and which parts of it failed."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        """Part of the watch -> wall time spent in it since the watch began."""
        self.own_seconds = 0.0
        """The sum of them."""
        self.failures: dict[str, str] = {}
        """Part of the watch -> its first error, one line."""

    def run(self, who: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`call(*args, **kwargs)`, timed. An exception is kept under `who` and None returned; the loop goes on."""
        begin = time.perf_counter()
        try:
            return call(*args, **kwargs)
        except Exception as error:
            self.failures.setdefault(who, " ".join(f"{type(error).__name__}: {error}".split())[:300])
            return None
        finally:
            spent = time.perf_counter() - begin
            self.seconds[who] += spent
            self.own_seconds += spent


class Hook:
    """Calls `call` within `ledger`. Never returns anything, so that it cannot replace an input, output or gradient.

    A deep copy and an unpickled one do nothing: the copy of a watched model, as of an averaged or a saved one, is not
    itself watched.
    """

    def __init__(self, who: str = "", call: Callable[..., Any] | None = None, ledger: Ledger | None = None) -> None:
        self._who, self._call, self._ledger = who, call, ledger

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Run what is hooked."""
        if self._call is not None and self._ledger is not None:
            self._ledger.run(self._who, self._call, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Hook":
        return Hook()

    def __reduce__(self) -> tuple[type["Hook"], tuple[()]]:
        return (Hook, ())
