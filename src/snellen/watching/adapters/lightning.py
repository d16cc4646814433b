"""`snellen.LightningWatch`: a callback that watches a Lightning `Trainer.fit`."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from snellen.watching.adapters.parts import by_phase, framework, targets_of
from snellen.watching.recorder import stopped_by
from snellen.watching.watch import Watch

if TYPE_CHECKING:
    from snellen.result import Result

pl: Any = framework("lightning.pytorch", "lightning")


class LightningWatch(pl.Callback):
    """Watches the module's networks and the trainer's optimizers:

        watch = snellen.LightningWatch()
        Trainer(callbacks=[watch]).fit(module, data)
        print(watch.report())

    A LightningModule that defines `forward` is watched as a whole. One that does not, or whose `training_step` does not
    call it, is watched through the modules it holds; in the second case from the second batch on. Targets are taken
    from batches that are pairs or name them; logged metrics val_* and train_* become those of the epoch.

    Args:
        run_dir: As in `snellen.watch`.
        options: Further arguments of `snellen.watch`: loss_fn, every, budget, task, trials.
    """

    def __init__(self, run_dir: Any = None, **options: Any) -> None:
        self._run_dir, self._options = run_dir, options
        self.watch: Watch | None = None
        self._called: set[str] = set()
        self._spies: list[Any] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Put the hooks on."""
        if not trainer.is_global_zero:
            return
        whole = type(pl_module).forward is not pl.LightningModule.forward
        self._begin(trainer, pl_module if whole else _parts(pl_module, None))
        for name, part in _named_parts(pl_module):
            self._spies.append(part.register_forward_pre_hook(self._note(name)))
        self._spies.append(pl_module.register_forward_pre_hook(self._note("")))

    def _begin(self, trainer: Any, model: Any) -> None:
        self.watch = Watch(model, list(trainer.optimizers), self._run_dir, **self._options)
        self.watch.start()

    def _note(self, name: str) -> Any:
        def called(module: nn.Module, inputs: Any) -> None:
            if torch.is_grad_enabled():
                self._called.add(name)

        return called

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Record the batch."""
        if self.watch is None:
            return
        if self._spies:
            for spy in self._spies:
                spy.remove()
            self._spies = []
            if self.watch.model is pl_module and "" not in self._called and self._called:
                self.watch.finish()
                self._begin(trainer, _parts(pl_module, self._called))
                return
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if loss is None:  # manual optimization: the step may have logged it
            logged = [v for k, v in trainer.callback_metrics.items() if "loss" in k and not k.startswith("val")]
            loss = torch.stack([v.detach().float() for v in logged]).sum() if logged else None
        if isinstance(loss, int | float | Tensor):
            self.watch.step(loss=loss, targets=targets_of(batch), epoch=trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Record the metrics logged in the epoch; Lightning validates before this."""
        if self.watch is not None:
            logged = trainer.callback_metrics
            self.watch.epoch(by_phase(logged, "train"), by_phase(logged, "val"), epoch=trainer.current_epoch)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Take the hooks off."""
        if self.watch is not None:
            self.watch.finish()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Take the hooks off; the facts say what stopped the run."""
        if self.watch is not None:
            self.watch.finish(stopped_by(exception))

    def report(self) -> "Result":
        """As `Watch.report`. Raises RuntimeError when nothing was fitted on this process."""
        if self.watch is None:
            raise RuntimeError("LightningWatch: nothing was watched; report after Trainer.fit, on the first process")
        return self.watch.report()


def _named_parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(n, m) for n, m in module.named_children() if next(m.parameters(), None) is not None]


def _parts(module: nn.Module, called: set[str] | None) -> dict[str, nn.Module]:
    """The networks that a LightningModule holds; those `called`, if known."""
    return {name: part for name, part in _named_parts(module) if called is None or name in called}
