"""One forward pass of a weightless double: every operator and module, with what it costs and what it sees."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from snellen.network.bounds import Bounds
from snellen.network.field_mixing import next_field
from snellen.network.flops import backward_macs, cost, operator_name
from snellen.network.memory import SavedForBackward
from snellen.network.receptive_field import Field, image_field

PLAIN = frozenset({int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format})
"""Types of arguments that hold no tensor."""

Key = tuple[int, int, tuple[int, ...], tuple[int, ...]]


@dataclass(slots=True)
class Tally:
    """What the calls of one operator within one record come to."""

    calls: int = 0
    macs: int = 0
    inputs: int = 0
    """Elements of the first tensor read."""
    outputs: int = 0
    """Elements of the first tensor written."""


@dataclass(slots=True)
class Record:
    """What one leaf module, or one operator called by a module that has children, did in the pass."""

    layer: str
    kind: str
    module: nn.Module | None
    order: int | None = None
    calls: int = 0
    input_shape: list[int] | None = None
    output_shape: list[int] | None = None
    macs: int = 0
    elementwise: int = 0
    backward_macs: int = 0
    operators: dict[str, Tally] = dataclasses.field(default_factory=dict)
    activation_bytes: int = 0
    field: Field | None = None
    kernel: list[int] | None = None
    step: list[int] | None = None
    dilation: list[int] | None = None
    consumers: set[str] = dataclasses.field(default_factory=set)


@dataclass(slots=True)
class Trace:
    """The records of one pass, in order of first call, and what could not be known."""

    records: dict[tuple[str, str], Record] = dataclasses.field(default_factory=dict)
    edges: dict[tuple[str, str, int, str, str, int], None] = dataclasses.field(default_factory=dict)
    """(layer, kind, call) of a producer, then of a reader of its output, in order of reading."""
    uncounted: set[str] = dataclasses.field(default_factory=set)
    recomputed: bool = False
    """Hooks within the model kept tensors back: parts of it will run again in backward."""
    finished: bool = False
    used_storages: set[int] = dataclasses.field(default_factory=set)
    output: Any = None


class Tracer(TorchDispatchMode):
    """Counts and follows every aten operator below autograd; `watch` tells it which module is running."""

    def __init__(self, shadow: nn.Module, bounds: Bounds, saved: SavedForBackward) -> None:
        super().__init__()
        self.trace = Trace()
        self._bounds = bounds
        self._saved = saved
        self._stack: list[tuple[str, nn.Module, Record | None]] = []
        self._fields: dict[Key, Field] = {}
        self._canvases: dict[int, Field] = {}
        self._producers: dict[Key, tuple[Record, int]] = {}
        self._passers: dict[Key, tuple[Record, int]] = {}
        self._started = 0
        for name, module in shadow.named_modules():
            if is_unit(module):
                record = Record(name, type(module).__name__, module)
                self.trace.records[name, ""] = record
                self._watch(name, module, record)
            else:
                self._watch(name, module, None)

    # Modules -----------------------------------------------------------------------------------------------------

    def _watch(self, name: str, module: nn.Module, record: Record | None) -> None:
        def enter(_: nn.Module, args: Any, kwargs: Any) -> None:
            if self.trace.finished:
                return
            if record is not None:
                tensors = _tensors((args, kwargs))
                for tensor in tensors:
                    self._consume(tensor, record, record.calls + 1)
                self._begin(record, tensors)
            self._stack.append((name, module, record))

        def leave(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if self.trace.finished:
                return
            self._stack.pop()
            tensors = _tensors(output)
            if record is not None and tensors:
                record.output_shape = list(tensors[0].shape)
                record.field = self.field_of(tensors[0])
                inputs = {key(t) for t in _tensors((args, kwargs))}
                record.activation_bytes += sum(t.numel() * t.element_size() for t in tensors if key(t) not in inputs)
                for tensor in tensors if is_leaf(module) else ():
                    self._passers.pop(key(tensor), None)
                    # Identity, and dropout in evaluation, hand on what they got: they read it, and are read instead.
                    table = self._passers if key(tensor) in inputs else self._producers
                    table[key(tensor)] = record, record.calls

        module.register_forward_pre_hook(_quietly(enter), with_kwargs=True)
        module.register_forward_hook(_quietly(leave), with_kwargs=True)

    def _begin(self, record: Record, tensors: Sequence[Tensor]) -> None:
        if record.order is None:
            record.order = self._started
            self._started += 1
            record.input_shape = list(tensors[0].shape) if tensors else None
        record.calls += 1

    def _consume(self, tensor: Tensor, consumer: Record, call: int) -> None:
        source, source_call = self._source(tensor) or (None, 0)
        if source is not None and source is not consumer:
            source.consumers.add(f"{consumer.layer}\0{consumer.kind}")
        if source is not None and (source is not consumer or source_call != call):
            edge = (source.layer, source.kind, source_call, consumer.layer, consumer.kind, call)
            self.trace.edges[edge] = None

    def _source(self, tensor: Tensor) -> tuple[Record, int] | None:
        """The record, and which call of it, whose output `tensor` is."""
        return self._passers.get(key(tensor)) or self._producers.get(key(tensor))

    def maker_of(self, tensor: Tensor) -> Record | None:
        """The record of the layer or operator that made `tensor`."""
        return self._producers.get(key(tensor), (None, 0))[0]

    # Operators ---------------------------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        # Below autograd no function is to be overridden; without this each look at a shape would ask the overriding.
        with torch._C.DisableTorchFunction():
            return self._observed(func, args, kwargs or {})

    def _observed(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        name = operator_name(func)
        # Taken before the call: an in-place operator may change the geometry by which its tensor is known.
        inputs = _tensors((args, kwargs))
        known = [(t, f) for t in inputs if (f := self.field_of(t)) is not None]
        out = self._bounds.result(name, args, kwargs)
        if out is None and torch.is_inference_mode_enabled():
            # Inference mode hands composite operators over whole: they are taken apart, and come back in parts.
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs) if out is None else out
        outputs = _tensors(out)
        price = cost(func, args, kwargs, out)
        if price is None:
            self.trace.uncounted.add(name)
        macs, elementwise = price or (0, 0)
        for tensor in inputs:
            self.trace.used_storages.add(tensor.untyped_storage()._cdata)
        record = self._attribute(func, name, args, inputs, outputs, macs, elementwise)
        self._follow(func, name, args, kwargs, known, outputs)
        if record is not None:
            record.field = self.field_of(outputs[0])
        return out

    def _attribute(
        self, func: Any, name: str, args: Sequence[Any], inputs: Sequence[Tensor], outputs: Sequence[Tensor],
        macs: int, elementwise: int,
    ) -> Record | None:  # fmt: skip
        """Charge a call to the module it ran in; returns the record when the operator has a row of its own."""
        caller, _, record = self._stack[-1] if self._stack else ("", None, None)
        moves = macs == elementwise == 0
        sources = [self._source(t) for t in inputs] if func.is_view else []
        if not func.is_view:
            # Storages of values no longer in use hand their address on, but not what was known of them.
            for place in {key(t) for t in outputs} - {key(t) for t in inputs}:
                self._producers.pop(place, None)
                self._passers.pop(place, None)
        if record is None:
            if not inputs or not outputs:
                return None
            if moves and name not in self.trace.uncounted and name != "aten.cat":
                # A view hands its producer on, so that a flatten does not hide which layer reads which.
                self._hand_on(inputs, outputs, sources)
                return None
            record = self.trace.records.setdefault((caller, name), Record(caller, name, None))
            for tensor in inputs:
                self._consume(tensor, record, record.calls + 1)
            self._begin(record, inputs)
            record.output_shape = list(outputs[0].shape)
            record.activation_bytes += sum(t.numel() * t.element_size() for t in outputs)
            if name in ("aten.convolution", "aten._convolution"):
                record.kernel = list(args[1].shape[2:])
                record.step, record.dilation = list(args[3]), list(args[5])
            self._produce(outputs, record)
            own = record
        else:
            own = None
            if record.module is not None and not is_leaf(record.module):
                if moves and name != "aten.cat":
                    self._hand_on(inputs, outputs, sources)
                else:
                    for tensor in inputs:
                        self._consume(tensor, record, record.calls)
                    self._produce(outputs, record)
        record.macs += macs
        record.elementwise += elementwise
        tally = record.operators.setdefault(name, Tally())
        tally.calls += 1
        tally.macs += macs
        tally.inputs += inputs[0].numel() if inputs else 0
        tally.outputs += outputs[0].numel() if outputs else 0
        if macs and torch.is_grad_enabled():
            record.backward_macs += backward_macs(name, macs, args)
            self.trace.recomputed = self.trace.recomputed or self._saved.overridden()
        return own

    def _produce(self, outputs: Sequence[Tensor], record: Record) -> None:
        for out in outputs:
            self._passers.pop(key(out), None)
            self._producers[key(out)] = record, record.calls

    def _hand_on(
        self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], sources: Sequence[tuple[Record, int] | None]
    ) -> None:
        """A view's source is that of what it views; `sources` is empty for operators that are not views."""
        if sources and sources[0] is not None:
            for out in outputs:
                if key(out) != key(inputs[0]):
                    self._passers.pop(key(out), None)
                    self._producers[key(out)] = sources[0]

    # Receptive fields --------------------------------------------------------------------------------------------

    def enter_image(self, tensor: Tensor) -> None:
        """Declare an input tensor as an image: NCHW, NC(T)HW, CHW (alone in a list) or NCL."""
        if tensor.is_floating_point() and tensor.dim() >= 3:
            axes = 1 if tensor.dim() == 3 and tensor.shape[0] not in (1, 3) else 2
            self._fields[key(tensor)] = image_field([int(n) for n in tensor.shape], axes)

    def field_of(self, tensor: Tensor) -> Field | None:
        """The field of a tensor that depends on an image, else None."""
        known = self._fields.get(key(tensor))
        if known is None and self._canvases and tensor.dim() >= 3:
            canvas = self._canvases.get(tensor.untyped_storage()._cdata)
            if canvas is not None:
                fresh = image_field([int(n) for n in tensor.shape])
                return Field(fresh.dims, canvas.h, canvas.w)
        return known

    def _follow(
        self, func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any],
        known: Sequence[tuple[Tensor, Field]], outputs: Sequence[Tensor],
    ) -> None:  # fmt: skip
        for index, out in enumerate(outputs):
            place = key(out)
            field = next_field(func, name, args, kwargs, known, out, index, self.field_of) if known else None
            if field is None:
                self._fields.pop(place, None)
            else:
                self._fields[place] = field
                if name == "aten.copy_" and out.dim() >= 3 and len(field.dims) == out.dim():
                    # Images pasted into a larger canvas (detection batches): the canvas sees what they see.
                    self._canvases[out.untyped_storage()._cdata] = field


def _quietly(look: Callable[..., None]) -> Callable[..., None]:
    """`look` without overridden functions, which would be asked at each look at a tensor's shape."""

    def hook(*args: Any) -> None:
        with torch._C.DisableTorchFunction():
            look(*args)

    return hook


def key(tensor: Tensor) -> Key:
    """What identifies the data of a tensor within a pass: autograd hands out several objects for the same data."""
    # A strided tensor is its storage and its geometry; storages of values still in use have distinct addresses.
    return tensor.untyped_storage()._cdata, int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride()


def is_leaf(module: nn.Module) -> bool:
    """Whether a module has no children."""
    return not module._modules or not any(m is not None for m in module._modules.values())


def is_unit(module: nn.Module) -> bool:
    """Whether a module gets a row of its own: a leaf, or a module with parameters besides its children's."""
    return is_leaf(module) or any(p is not None for p in module._parameters.values())


def _tensors(value: Any) -> list[Tensor]:
    """The strided tensors in any nest, in order."""
    found: list[Tensor] = []
    _gather(value, found)
    return found


def _gather(value: Any, found: list[Tensor]) -> None:
    """Append the tensors of `value`; plain nests, as nearly all are, are walked without PyTorch's registry."""
    kind = type(value)
    if kind is tuple or kind is list or kind is torch.Size:
        for part in value:
            _gather(part, found)
    elif kind is dict:
        for part in value.values():
            _gather(part, found)
    elif isinstance(value, Tensor):
        if value.layout == torch.strided:
            found.append(value)
    elif kind not in PLAIN:
        for leaf in tree_iter(value):
            if leaf is value:
                # torchvision's ImageList and the like carry tensors as attributes.
                if (
                    hasattr(value, "__dict__")
                    and not isinstance(value, (nn.Module, type))
                    and kind.__module__ != "builtins"
                ):
                    found += [v for v in vars(value).values() if isinstance(v, Tensor)]
            else:
                _gather(leaf, found)
