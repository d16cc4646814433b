"""Faults of training with several processes and of adapters, on one CPU.

Where a second process is needed it is a small worker that joins the gloo group, answers the same collective calls and
leaves; the run that is watched is that of rank 0.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from benchmarks.chart.case import Cases
from benchmarks.chart.program import Program
from benchmarks.chart.subjects import SUBJECTS
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

cases = Cases("distributed")

WORKER = """
import os, sys, torch
from torch import distributed
distributed.init_process_group("gloo", rank=1, world_size=2)
from torch.nn.parallel import DistributedDataParallel
model = torch.load(sys.argv[1], weights_only=False)
ddp = DistributedDataParallel(model)
x = torch.load(sys.argv[2])
for step in range(int(sys.argv[3])):
    ddp(x).sum().backward()
distributed.barrier()
distributed.destroy_process_group()
"""


@contextmanager
def two_processes(model: nn.Module, inputs: Tensor, passes: int) -> Iterator[DistributedDataParallel]:
    """A gloo group of two; the other process runs `passes` forward and backward passes of the wrapped model.

    `model` has to be built of classes of torch alone, so that the worker can load it.
    """
    import tempfile

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, n) for n in ("model.pt", "x.pt")]
        torch.save(model, paths[0])
        torch.save(inputs, paths[1])
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        os.environ |= where
        other = subprocess.Popen([sys.executable, "-c", WORKER, *paths, str(passes)], env=os.environ | where)
        try:
            distributed.init_process_group("gloo", rank=0, world_size=2)
            yield DistributedDataParallel(model)
            distributed.barrier()
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()
            other.wait(60)


def bypassed(harness: Any, program: Program, model: nn.Module) -> float:
    """Train `model`, wrapped, by calling the module inside."""
    first, _ = next(iter(program.loader()))
    with two_processes(model, first, 0) as ddp:
        optimizer = torch.optim.Adam(ddp.parameters(), lr=2e-3)
        harness.begin(ddp.module, optimizer, loss_fn=program.loss_fn)
        for epoch in range(2):
            program.epoch_number = epoch
            for x, y in program.loader():
                optimizer.zero_grad()
                out = model(x)
                loss = program.loss_fn(out, y)
                loss.backward()
                optimizer.step()
                harness.step(loss=loss, inputs=x, targets=y, outputs=out)
            harness.epoch(train={"loss": loss.item()})
    return float(program.final_score() or 0.0)


def digits(seed: int) -> Program:
    """Digits, whose network is made of torch's own layers."""
    program = SUBJECTS["mlp"](seed)
    program.epoch_number = 0
    return program


@cases.restated("mlp", number=111, accepts=["wrapper-bypassed"])
def module_called_for_wrapper(harness: Any, seed: int) -> float:
    """The raw module is called in training, and the DistributedDataParallel wrapper only held."""
    program = digits(seed)
    return bypassed(harness, program, program.model)


@cases.restated("cnn", number=111, accepts=["wrapper-bypassed"])
def inner_module_called(harness: Any, seed: int) -> float:
    """The same with convolutions."""
    program = SUBJECTS["cnn"](seed)
    program.epoch_number = 0
    return bypassed(harness, program, program.model)


def without_set_epoch(harness: Any, program: Program) -> float:
    """Rank 0 of two, whose sampler is never told of the epoch."""
    data = TensorDataset(program.train_data.x, program.train_data.y)
    sampler = DistributedSampler(data, num_replicas=2, rank=0, shuffle=True, seed=program.seed)
    loader = DataLoader(data, batch_size=32, sampler=sampler, drop_last=True)
    optimizer = program.make_optimizers()[0]
    harness.begin(program.model, optimizer, loss_fn=program.loss_fn)
    for epoch in range(5):
        program.epoch_number = epoch
        program.model.train()
        for x, y in loader:
            x = program.prepare(x)
            optimizer.zero_grad()
            out = program.model(x)
            loss = program.loss_fn(out, y)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(train={"loss": loss.item()}, val=program.validate())
    return float(program.final_score() or 0.0)


@cases.restated("mlp", number=112, accepts=["same-order-every-epoch"])
def sampler_without_set_epoch(harness: Any, seed: int) -> float:
    """DistributedSampler without set_epoch: the same order in every epoch."""
    return without_set_epoch(harness, SUBJECTS["mlp"](seed))


@cases.restated("regression", number=112, accepts=["same-order-every-epoch"])
def sampler_never_told(harness: Any, seed: int) -> float:
    """The same in a regression."""
    return without_set_epoch(harness, SUBJECTS["regression"](seed))


def unsynced(harness: Any, program: Program, model: nn.Module) -> float:
    """Two processes with two samples each, and plain batch norm."""
    program.model, program.batch_size = model, 2
    first, _ = next(iter(program.loader()))
    steps = 60
    with two_processes(model, first, steps) as ddp:
        optimizer = torch.optim.SGD(ddp.parameters(), lr=0.01, momentum=0.9)
        harness.begin(ddp, optimizer, loss_fn=program.loss_fn)
        for number, (x, y) in enumerate(program.loader()):
            if number == steps:
                break
            optimizer.zero_grad()
            out = ddp(x)
            loss = program.loss_fn(out, y)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(train={"loss": loss.item()})
    return float(program.final_score() or 0.0)


@cases.restated("cnn", number=113, accepts=["batchnorm-not-synced", "batchnorm-few-samples", "batchnorm-tiny-batch"])
def batch_norm_of_two_samples(harness: Any, seed: int) -> float:
    """Batch norm sees two samples on each of two processes."""
    program = SUBJECTS["cnn"](seed)
    program.epoch_number = 0
    return unsynced(harness, program, program.model)


@cases.restated("mlp", number=113, accepts=["batchnorm-not-synced", "batchnorm-few-samples", "batchnorm-tiny-batch"])
def batch_norm_1d_of_two_samples(harness: Any, seed: int) -> float:
    """The same with batch norm of vectors."""
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
    return unsynced(harness, digits(seed), model)


class LowRank(nn.Module):
    """A linear layer with a low-rank term beside it."""

    def __init__(self, base: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return self.base(x) + self.up(self.down(x))


def adapt(program: Program) -> list[LowRank]:
    """Put adapters on every wide linear layer but the head."""
    made = []
    wide = [(n, m) for n, m in program.model.named_modules() if isinstance(m, nn.Linear)][:-1]
    for name, module in wide:
        if min(module.in_features, module.out_features) < 16:
            continue
        parent, _, attribute = name.rpartition(".")
        made.append(LowRank(module))
        setattr(program.model.get_submodule(parent), attribute, made[-1])
    return made


@cases.mutant(115, ["mlp", "vit", "gpt"], accepts=["adapters-miswired"])
def adapters_frozen(program: Program) -> None:
    """Every parameter but the head is frozen after the adapters were attached, the adapters with them."""
    adapt(program)
    every = list(program.model.named_parameters())
    last = [n for n, m in program.model.named_modules() if isinstance(m, nn.Linear)][-1]
    for name, parameter in every:
        parameter.requires_grad_(name.startswith(last))


@cases.mutant(115, ["mlp", "vit", "gpt"], accepts=["adapters-miswired"])
def base_trainable(program: Program) -> None:
    """Adapters are attached and the base is not frozen."""
    adapt(program)


@cases.mutant(115, ["mlp", "vit"], accepts=["adapters-miswired", "gradient-always-zero", "symmetric-initialisation"])
def both_factors_zero(program: Program) -> None:
    """Both factors begin at 0, so that no gradient reaches either."""
    for adapter in adapt(program):
        nn.init.zeros_(adapter.down.weight)
        adapter.base.requires_grad_(False)
