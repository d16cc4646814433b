"""Train and eval mode for the time of a measurement."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

BATCH_STATISTICS = (nn.modules.batchnorm._BatchNorm,)
DROPOUT = (nn.modules.dropout._DropoutNd,)


@contextmanager
def in_mode(model: nn.Module, training: bool, *, apart: tuple[type[nn.Module], ...] = ()) -> Iterator[None]:
    """Put every module in train or eval mode, those of the classes `apart` in the other one, and give back the old.

    Recurrent layers on a GPU stay in train mode, because cuDNN computes no gradient for them in eval mode; their
    dropout is switched off instead.
    """
    modes = [(m, m.training) for m in model.modules()]
    rates = [(m, m.dropout) for m in model.modules() if isinstance(m, nn.RNNBase)]
    try:
        model.train(training)
        for module in model.modules():
            if apart and isinstance(module, apart):
                module.train(not training)
            if not training and isinstance(module, nn.RNNBase) and next(module.parameters()).is_cuda:
                module.train()
                module.dropout = 0.0
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for recurrent, rate in rates:
            recurrent.dropout = rate
