"""The callable put on a model, parameter or optimizer: timed, harmless when it fails, and left behind by copies."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from torch._C import _functorch


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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run what is hooked."""
        if self._call is not None and self._ledger is not None and not _vectorised():
            self._ledger.run(self._who, self._call, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Hook":
        return type(self)()

    def __reduce__(self) -> tuple[type["Hook"], tuple[()]]:
        return (type(self), ())


def _vectorised() -> bool:
    """Whether `torch.func.vmap` is at work: what a hook is handed then must not be kept beyond it."""
    stack = _functorch.get_interpreter_stack()
    return bool(stack) and any(level.key() == _functorch.TransformType.Vmap for level in stack)


class StepHook(Hook):
    """A hook before an optimizer's step that runs when the gradients of that step are there: at once, or, where the
    step is handed a closure that makes them, after its first call."""

    def __call__(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As torch calls it; with a closure, gives the arguments back with the closure followed."""
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if self._call is None or not callable(closure):
            return super().__call__(optimizer, args, kwargs)
        waiting = True

        def followed(*given: Any, **named: Any) -> Any:
            nonlocal waiting
            result = closure(*given, **named)
            if waiting:
                waiting = False
                Hook.__call__(self, optimizer, args, kwargs)
            return result

        if "closure" in kwargs:
            return args, {**kwargs, "closure": followed}
        return (args[0], followed, *args[2:]), kwargs
