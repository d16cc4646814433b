"""`snellen.accelerate_watch`: watch a loop whose model and optimizer `Accelerator.prepare` made."""

from typing import Any

from snellen.watching.watch import Watch


def accelerate_watch(accelerator: Any, model: Any, optimizer: Any, run_dir: Any = None, **options: Any) -> Watch:
    """A `Watch` of the model within Accelerate's wrappers, used as that of `snellen.watch`:

        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        with snellen.accelerate_watch(accelerator, model, optimizer) as watch:
            for x, y in loader:
                ...; accelerator.backward(loss); optimizer.step()
                watch.step(loss=loss, inputs=x, targets=y, outputs=out)

    Every process watches its own part of the batch; only the first writes to `run_dir`.

    Args:
        accelerator: The Accelerator that prepared them.
        model: A prepared module, or a sequence or dict of them.
        optimizer: A prepared optimizer, or a sequence or dict.
        run_dir: As in `snellen.watch`, as are the `options`.
    """
    bare = accelerator.unwrap_model
    if isinstance(model, dict):
        model = {name: bare(part) for name, part in model.items()}
    elif isinstance(model, list | tuple):
        model = [bare(part) for part in model]
    else:
        model = bare(model)
    return Watch(model, optimizer, run_dir if accelerator.is_main_process else None, **options)
