"""Snellen: an eye exam for computer vision.

    import snellen

    result = snellen.check("my-dataset")        # what is wrong with the data
    result = snellen.inspect("resnet18")        # what a network costs and sees
    result = snellen.exam("my-dataset")         # check -> inspect -> train under watch -> evaluate -> one report
    with snellen.watch(model, optimizer) as watch: ...   # watch any PyTorch loop,
    result = watch.report()                              # and say what is wrong with it

Everything is imported on first use, so `import snellen` is instant and `snellen.check` never imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from snellen._version import __version__

if TYPE_CHECKING:
    from snellen.findings.registry import all_rules as all_rules
    from snellen.result import Result as Result
    from snellen.training.recipe import Recipe as Recipe
    from snellen.verbs.calibrate import calibrate as calibrate
    from snellen.verbs.check import check as check
    from snellen.verbs.compare import compare as compare
    from snellen.verbs.convert import convert as convert
    from snellen.verbs.demo import demo as demo
    from snellen.verbs.evaluate import evaluate as evaluate
    from snellen.verbs.exam import exam as exam
    from snellen.verbs.explain import explain as explain
    from snellen.verbs.export import export as export
    from snellen.verbs.fix import fix as fix
    from snellen.verbs.inspect import inspect as inspect
    from snellen.verbs.judge import judge as judge
    from snellen.verbs.predict import predict as predict
    from snellen.verbs.preflight import preflight as preflight
    from snellen.verbs.replay import replay as replay
    from snellen.verbs.rewrite import rewrite as rewrite
    from snellen.verbs.run_folder import read_run as read_run
    from snellen.verbs.train import train as train
    from snellen.watching.adapters.accelerated import accelerate_watch as accelerate_watch
    from snellen.watching.adapters.hugging_face import TrainerWatch as TrainerWatch
    from snellen.watching.adapters.lightning import LightningWatch as LightningWatch
    from snellen.watching.read import read_epochs as read_epochs
    from snellen.watching.read import read_steps as read_steps
    from snellen.watching.recorder import Recorder as Recorder
    from snellen.watching.watch import Watch as Watch
    from snellen.watching.watch import watch as watch

_WHERE = {
    "LightningWatch": ("snellen.watching.adapters.lightning", "LightningWatch"),
    "Recipe": ("snellen.training.recipe", "Recipe"),
    "Recorder": ("snellen.watching.recorder", "Recorder"),
    "Result": ("snellen.result", "Result"),
    "TrainerWatch": ("snellen.watching.adapters.hugging_face", "TrainerWatch"),
    "accelerate_watch": ("snellen.watching.adapters.accelerated", "accelerate_watch"),
    "all_rules": ("snellen.findings.registry", "all_rules"),
    "calibrate": ("snellen.verbs.calibrate", "calibrate"),
    "check": ("snellen.verbs.check", "check"),
    "compare": ("snellen.verbs.compare", "compare"),
    "convert": ("snellen.verbs.convert", "convert"),
    "demo": ("snellen.verbs.demo", "demo"),
    "evaluate": ("snellen.verbs.evaluate", "evaluate"),
    "exam": ("snellen.verbs.exam", "exam"),
    "explain": ("snellen.verbs.explain", "explain"),
    "export": ("snellen.verbs.export", "export"),
    "fix": ("snellen.verbs.fix", "fix"),
    "inspect": ("snellen.verbs.inspect", "inspect"),
    "judge": ("snellen.verbs.judge", "judge"),
    "predict": ("snellen.verbs.predict", "predict"),
    "preflight": ("snellen.verbs.preflight", "preflight"),
    "read_epochs": ("snellen.watching.read", "read_epochs"),
    "read_run": ("snellen.verbs.run_folder", "read_run"),
    "read_steps": ("snellen.watching.read", "read_steps"),
    "replay": ("snellen.verbs.replay", "replay"),
    "rewrite": ("snellen.verbs.rewrite", "rewrite"),
    "train": ("snellen.verbs.train", "train"),
    "Watch": ("snellen.watching.watch", "Watch"),
    "watch": ("snellen.watching.watch", "watch"),
}

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        module, attribute = _WHERE[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module 'snellen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
