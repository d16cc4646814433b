"""`snellen.TrainerWatch`: a callback that watches a `Trainer` of Hugging Face transformers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from snellen.watching.adapters.parts import by_phase, framework, targets_of, without_targets
from snellen.watching.watch import Watch

if TYPE_CHECKING:
    from snellen.result import Result

transformers: Any = framework("transformers", "transformers")


class TrainerWatch(transformers.TrainerCallback):
    """Watches the trainer's model and optimizer:

        watch = snellen.TrainerWatch()
        Trainer(model, args, train_dataset=data, callbacks=[watch]).train()
        print(watch.report())

    The loss is the one that the model gives with its outputs; where it gives none, the last one logged. Metrics of an
    evaluation become those of the epoch.

    Args:
        run_dir: As in `snellen.watch`.
        options: Further arguments of `snellen.watch`: loss_fn, every, budget, task, trials.
    """

    def __init__(self, run_dir: Any = None, **options: Any) -> None:
        self._run_dir, self._options = run_dir, options
        self.watch: Watch | None = None
        self._handle: Any = None
        self._seen: dict[str, Any] = {}
        self._logged: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Put the hooks on."""
        if not state.is_world_process_zero:
            return
        self.watch = Watch(given["model"], given["optimizer"], self._run_dir, **self._options)
        self.watch.start()
        self._handle = given["model"].register_forward_hook(self._after_forward, with_kwargs=True)

    def _after_forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if not torch.is_grad_enabled():
            return
        outputs: Any = dict(output) if isinstance(output, Mapping) else {"logits": output}
        loss = outputs.get("loss")
        self._seen = {
            "loss": loss.detach() if isinstance(loss, Tensor) else None,
            "inputs": without_targets(kwargs) if kwargs and not args else args[0] if len(args) == 1 else args,
            "targets": targets_of(kwargs),
            "outputs": outputs.get("logits"),
        }

    def on_substep_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Record a batch whose gradients are added to those of the next."""
        self._record()

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Record a batch that ended with a step."""
        self._record()

    def _record(self) -> None:
        seen, self._seen = self._seen, {}
        if self.watch is None or not seen:
            return
        loss = seen.pop("loss")
        loss = self._logged if loss is None else loss.mean()
        if loss is not None:
            self.watch.step(loss=loss, **seen)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **given: Any) -> None:
        """Keep the loss, for models that give none."""
        self._logged = (logs or {}).get("loss", self._logged)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """The end of an epoch that no evaluation follows."""
        if self.watch is not None and str(getattr(args.eval_strategy, "value", args.eval_strategy)) == "no":
            self.watch.epoch()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **given: Any) -> None:
        """Record the metrics of an evaluation."""
        if self.watch is not None:
            speed = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")
            numbers = {k: v for k, v in by_phase(metrics or {}, "eval").items() if k not in speed}
            self.watch.epoch(val=numbers)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Take the hooks off."""
        if self._handle is not None:
            self._handle.remove()
        if self.watch is not None:
            self.watch.finish()

    def report(self) -> "Result":
        """As `Watch.report`. Raises RuntimeError when nothing was trained on this process."""
        if self.watch is None:
            raise RuntimeError("TrainerWatch: nothing was watched; report after Trainer.train, on the first process")
        return self.watch.report()
