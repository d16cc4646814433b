from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset

import snellen
from snellen.watching.facts import RunFacts

pytestmark = pytest.mark.filterwarnings("default")  # the frameworks warn of their own parts


def data(seed: int = 0) -> TensorDataset:
    torch.manual_seed(seed)
    x = torch.randn(160, 32)
    return TensorDataset(x, x[:, :4].argmax(1))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))


def sound(facts: RunFacts, steps: int) -> None:
    """The run was seen as it was: every step, its gradients in time, no observer lost."""
    assert facts.events.filter(pl.col("kind") == "observer-failed")["message"].to_list() == []
    assert len(facts.steps) == steps
    assert facts.steps["grad_norm"].null_count() == 0
    assert not facts.steps["grads_before_backward"].any()
    assert facts.missing_from_optimizer == facts.without_gradient == []
    kinds = set(facts.events["kind"])
    assert not kinds & {"no-backward", "gradients-erased", "no-grad-forward", "optimizer-never-stepped"}
    assert (facts.forwards.filter(pl.col("phase") == "training")["calls"].sum()) == steps
    assert set(facts.batches["role"]) == {"input", "target", "output"}


def test_accelerate() -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    bare = network()
    model, optimizer, loader = accelerator.prepare(
        bare, torch.optim.AdamW(bare.parameters(), 1e-2), DataLoader(data(), 16, shuffle=True)
    )
    with snellen.accelerate_watch(accelerator, model, optimizer, loss_fn=F.cross_entropy) as watch:
        for _ in range(3):
            for x, y in loader:
                optimizer.zero_grad()
                out = model(x)
                loss = F.cross_entropy(out, y)
                accelerator.backward(loss)
                optimizer.step()
                watch.step(loss=loss, inputs=x, targets=y, outputs=out)
    sound(watch.facts(), 30)
    assert not [f for f in watch.report().findings if f.severity != "info"]
    several = snellen.accelerate_watch(accelerator, {"one": model}, [optimizer])
    assert several.model is bare


@pytest.mark.parametrize("way", ["child", "forward", "aside"])
def test_lightning(way: str, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def training_step(self, batch: Any, index: int) -> Tensor:
            x, y = batch
            loss = F.cross_entropy(self(x) if way == "forward" else self.net(x), y)
            self.log("train_loss", loss, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            out = self(batch[0]) if way == "forward" else self.net(batch[0])
            self.log("val_loss", F.cross_entropy(out, batch[1]))
            self.log("val_acc", (out.argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), 1e-2)

    if way != "child":
        Module.forward = lambda self, x: self.net(x)  # type: ignore[method-assign]
    watch = snellen.LightningWatch(loss_fn=F.cross_entropy)
    trainer = lightning.Trainer(
        max_epochs=3, accelerator="cpu", callbacks=[watch], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Module(), DataLoader(data(), 16, shuffle=True), DataLoader(data(1), 16))
    assert watch.watch is not None
    facts = watch.watch.facts()
    sound(facts, 29 if way == "aside" else 30)
    assert facts.epochs["val_loss"].null_count() == facts.epochs["metric"].null_count() == 0
    assert facts.metric_name == "acc"
    assert not [f for f in watch.report().findings if f.severity != "info"]


def test_a_lightning_run_is_bit_for_bit_the_unwatched_one(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def training_step(self, batch: Any, index: int) -> Tensor:
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), 1e-2)

    def weights(callbacks: list[Any]) -> list[Tensor]:
        module = Module()
        torch.manual_seed(1)
        lightning.Trainer(
            max_epochs=1, accelerator="cpu", callbacks=callbacks, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        ).fit(module, DataLoader(data(), 16, shuffle=True))  # fmt: skip
        return [p.detach() for p in module.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(weights([]), weights([snellen.LightningWatch()]), strict=True))


@pytest.mark.parametrize("added", [1, 2])
def test_hugging_face(added: int, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
            logits = self.net(x)
            return {"logits": logits} if labels is None else {"loss": F.cross_entropy(logits, labels), "logits": logits}

    rows, others = ([{"x": x, "labels": y} for x, y in data(seed)] for seed in (0, 1))
    watch = snellen.TrainerWatch()
    args = transformers.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=3, per_device_train_batch_size=16 // added, learning_rate=1e-2,
        gradient_accumulation_steps=added, eval_strategy="epoch", save_strategy="no", report_to=[], use_cpu=True,
        disable_tqdm=True, lr_scheduler_type="constant",
    )  # fmt: skip
    trainer = transformers.Trainer(
        model=Model(), args=args, train_dataset=rows, eval_dataset=others, callbacks=[watch],
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(1) == p.label_ids).mean())},
    )  # fmt: skip
    trainer.train()
    assert watch.watch is not None
    facts = watch.watch.facts()
    if added == 1:
        sound(facts, 30)
    else:
        assert len(facts.steps) == 60
        assert facts.events.filter(pl.col("kind") == "observer-failed").is_empty()
    assert facts.metric_name == "accuracy"
    assert len(facts.epochs) == 3
    assert not [f for f in watch.report().findings if f.severity != "info"]


def test_a_closure_makes_the_gradients_within_the_step() -> None:
    def run(watched: bool) -> list[float]:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        watch = snellen.watch(model, optimizer, trials=False)
        if watched:
            watch.start()
        losses = []
        for x, y in DataLoader(data(), 16):

            def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return loss

            loss = optimizer.step(closure)  # type: ignore[arg-type]
            losses.append(loss.item())
            if watched:
                watch.step(loss=loss, targets=y)
        if watched:
            watch.finish()
            sound(watch.facts(), 10)
            assert watch.facts().calls["sequence"].to_list()[-1].startswith("zero_grad, forward, backward, step")
        return losses

    assert run(True) == run(False)
