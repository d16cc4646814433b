"""One forward pass of a weightless double: every operator and module, with what it costs and what it sees."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from snellen.network.field_rules import PRODUCTS, RULES, attended_field, joined_field, product_field
from snellen.network.flops import cost, is_pointwise, operator_name
from snellen.network.receptive_field import GLOBAL, LOST, SUMMARY, Field, image_field, merge

Key = tuple[int, int, tuple[int, ...], tuple[int, ...]]

ATTENTION = (
    "aten._scaled_dot_product",
    "aten._native_multi_head_attention",
    "aten._transformer_encoder_layer_fwd",
)


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
    used_storages: set[int] = dataclasses.field(default_factory=set)
    output: Any = None


class Tracer(TorchDispatchMode):
    """Counts and follows every aten operator below autograd; `watch` tells it which module is running."""

    def __init__(self, shadow: nn.Module) -> None:
        super().__init__()
        self.trace = Trace()
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
            if record is not None:
                tensors = list(_tensors((args, kwargs)))
                for tensor in tensors:
                    self._consume(tensor, record, record.calls + 1)
                self._begin(record, tensors)
            self._stack.append((name, module, record))

        def leave(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            self._stack.pop()
            tensors = list(_tensors(output))
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

        module.register_forward_pre_hook(enter, with_kwargs=True)
        module.register_forward_hook(leave, with_kwargs=True)

    def _begin(self, record: Record, tensors: Sequence[Tensor]) -> None:
        if record.order is None:
            record.order = self._started
            self._started += 1
            record.input_shape = list(tensors[0].shape) if tensors else None
        record.calls += 1

    def _consume(self, tensor: Tensor, consumer: Record, call: int) -> None:
        found = self._source(tensor)
        if found is None:
            return
        source, source_call = found
        if source is not consumer:
            source.consumers.add(f"{consumer.layer}\0{consumer.kind}")
        if source is not consumer or source_call != call:
            edge = (source.layer, source.kind, source_call, consumer.layer, consumer.kind, call)
            self.trace.edges[edge] = None

    def _source(self, tensor: Tensor) -> tuple[Record, int] | None:
        """The record, and which call of it, whose output `tensor` is."""
        return self._passers.get(key(tensor)) or self._producers.get(key(tensor))

    def maker_of(self, tensor: Tensor) -> Record | None:
        """The record of the layer or operator that made `tensor`."""
        found = self._producers.get(key(tensor))
        return found[0] if found else None

    # Operators ---------------------------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = operator_name(func)
        # Taken before the call: an in-place operator may change the geometry by which its tensor is known.
        known = [(t, f) for t in _tensors((args, kwargs)) if (f := self.field_of(t)) is not None]
        out = self._assume(name, args)
        out = func(*args, **kwargs) if out is None else out
        inputs = list(_tensors((args, kwargs)))
        outputs = list(_tensors(out))
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

    def _assume(self, name: str, args: Sequence[Any]) -> Any:
        """The result of an operator whose size depends on the data, at its upper bound; None for every other."""
        tensors = list(_tensors(args))
        if not tensors or tensors[0].device.type != "meta":
            return None
        x = tensors[0]
        if name == "aten.nonzero":
            # Every candidate passes the mask; below, no box is suppressed.
            return torch.empty((x.numel(), x.dim()), dtype=torch.int64, device="meta")
        if name == "torchvision.nms":
            return torch.empty((x.shape[0],), dtype=torch.int64, device="meta")
        if name == "aten._unique2":
            # Per-class loops then run once over everything, which is what they do in sum.
            sizes = ((1, x.dtype), (x.numel(), torch.int64), (1, torch.int64))
            return tuple(torch.empty((n,), dtype=d, device="meta") for n, d in sizes)
        if name == "aten.index" and any(i is not None and i.dtype == torch.bool for i in args[1]):
            mask = next(i for i in args[1] if i is not None)
            return torch.empty((mask.numel(), *x.shape[mask.dim() :]), dtype=x.dtype, device="meta")
        return None

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
            field = self._next_field(func, name, args, kwargs, known, out, index) if known else None
            if field is None:
                self._fields.pop(place, None)
            else:
                self._fields[place] = field
                if name == "aten.copy_" and out.dim() >= 3 and len(field.dims) == out.dim():
                    # Images pasted into a larger canvas (detection batches): the canvas sees what they see.
                    self._canvases[out.untyped_storage()._cdata] = field

    def _next_field(
        self, func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any],
        known: Sequence[tuple[Tensor, Field]], out: Tensor, index: int,
    ) -> Field | None:  # fmt: skip
        if name.startswith("aten.new_") or name.endswith("_like"):
            return None  # Only the geometry of the argument is taken.
        if name == "aten.copy_":
            source = self.field_of(args[1])
            return merge([source], [int(n) for n in out.shape]) if source else None
        fields = [f for _, f in known]
        lost = any(f.reach == "lost" for f in fields)
        if lost or all(f.reach == "global" for f in fields):
            return LOST if lost else GLOBAL if not all(f.gated for f in fields) else SUMMARY
        if name.startswith(ATTENTION):
            return attended_field(fields, out) if "_scaled" in name else GLOBAL
        if name in PRODUCTS:
            first = PRODUCTS[name]
            a, b = args[first], args[first + 1]
            return product_field(self.field_of(a), self.field_of(b), out)
        if name in ("aten.cat", "aten.stack"):
            dim = int(args[1] if len(args) > 1 else kwargs.get("dim", 0))
            if name == "aten.stack":
                dim %= out.dim()
                fields = [replace(f, dims=(*f.dims[:dim], (("o", 1),), *f.dims[dim:])) for f in fields]
            return joined_field(fields, args[0], out, dim)
        pointwise = is_pointwise(func)
        rule = RULES.get(name) or (RULES.get(name[:-1]) if name.endswith("_") else None)
        if rule is not None and not (pointwise and name not in RULES):
            own = self.field_of(args[0]) if isinstance(args[0], Tensor) else None
            if own is None:
                return None if name == "aten.index" else LOST
            if own.reach != "local":
                return own
            if index > 0 and name in _EXTRA_OUTPUTS:
                return None
            return rule(args, kwargs, out, own)
        if pointwise:
            return merge(fields, [int(n) for n in out.shape])
        return LOST


class FusedAttention(TorchFunctionMode):
    """Sends attention to the fused kernel that training uses, where it could; on meta tensors it would be spelt out.

    The spelt-out form keeps the matrix of weights for backward, which the fused kernels do not.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention and len(args) >= 3:
            query, key_, value = args[:3]
            mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
            if (
                all(t.device.type == "meta" and t.dim() == 4 for t in (query, key_, value))
                and query.shape[:2] == key_.shape[:2]
                and query.shape[-1] == key_.shape[-1] == value.shape[-1]
                and (mask is None or not mask.requires_grad)
            ):
                return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key_, value)[0]
        return func(*args, **kwargs)


_EXTRA_OUTPUTS = frozenset(
    f"aten.{name}"
    for name in [
        "max_pool2d_with_indices",
        "native_batch_norm",
        "_native_batch_norm_legit",
        "_native_batch_norm_legit_no_training",
        "native_layer_norm",
        "native_group_norm",
        "cudnn_batch_norm",
        "_fused_rms_norm",
        "native_dropout",
        "_batch_norm_no_update",
        "_batch_norm_with_update",
    ]
)
"""Operators whose outputs after the first are indices or statistics."""


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


def _tensors(value: Any) -> Iterator[Tensor]:
    for leaf in tree_iter(value):
        if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
            yield leaf
        elif (
            hasattr(leaf, "__dict__")
            and not isinstance(leaf, (nn.Module, type, torch.dtype))
            and leaf.__class__.__module__ != "builtins"
        ):
            # torchvision's ImageList and the like carry tensors as attributes.
            yield from (v for v in vars(leaf).values() if isinstance(v, Tensor))
