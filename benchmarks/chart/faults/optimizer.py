"""Learning rates, decay, momentum, epsilon, clipping: numbers that are wrong, and parameters in the wrong hands."""

import torch
from benchmarks.chart.case import Cases
from benchmarks.chart.program import Program
from torch import nn

cases = Cases("optimizer")


def head_of(program: Program) -> tuple[nn.Module, str]:
    """Module that holds the last linear layer, and the attribute."""
    name = [n for n, m in program.model.named_modules() if isinstance(m, nn.Linear)][-1]
    parent, _, attribute = name.rpartition(".")
    return program.model.get_submodule(parent), attribute


@cases.mutant(
    5,
    ["mlp", "resnet", "gru", "vit"],
    accepts=["parameters-missing-from-optimizer", "optimizer-holds-stale-tensors"],
    place={"mlp": "4.", "resnet": "fc", "gru": "head", "vit": "head"},
)
def head_replaced_after_optimizer(program: Program) -> None:
    """The head is replaced when the optimizer holds the old one."""

    def made() -> list[torch.optim.Optimizer]:
        optimizers = Program.make_optimizers(program)
        parent, name = head_of(program)
        old = getattr(parent, name)
        setattr(parent, name, nn.Linear(old.in_features, old.out_features))
        return optimizers

    program.make_optimizers = made


@cases.mutant(
    5,
    ["cnn", "unet", "regression"],
    accepts=["parameters-missing-from-optimizer"],
    place={"cnn": "0.weight|1.|3.|4.", "unet": ".", "regression": "0."},
)
def only_half_in_optimizer(program: Program) -> None:
    """The optimizer gets the parameters of the second half alone, and nothing is frozen."""
    every = list(program.model.parameters())
    program.trained_parameters = lambda: every[len(every) // 2 :]


@cases.mutant(6, ["mlp", "cnn", "gru"], accepts=["optimizer-holds-stale-tensors", "parameters-missing-from-optimizer"])
def parameters_renewed_after_optimizer(program: Program) -> None:
    """Every parameter is made anew after the optimizer was built, as wrapping and loading with assign do."""

    def made() -> list[torch.optim.Optimizer]:
        optimizers = Program.make_optimizers(program)
        state = {k: v.clone() for k, v in program.model.state_dict().items()}
        program.model.load_state_dict(state, assign=True)
        return optimizers

    program.make_optimizers = made


@cases.mutant(7, ["cnn", "vit", "resnet"], accepts=["only-norms-train"])
def only_vectors_train(program: Program) -> None:
    """A filter on the names of parameters freezes every matrix and leaves norms and biases."""
    for parameter in program.model.parameters():
        parameter.requires_grad_(parameter.dim() < 2)


@cases.mutant(9, ["mlp", "cnn", "resnet", "vit", "gru", "unet", "regression"], accepts=["lr-too-high"])
def rate_times_100(program: Program) -> None:
    """The learning rate is 100 times what it should be."""
    program.lr *= 100


@cases.mutant(9, ["vit", "gpt", "gru"], accepts=["lr-too-high"])
def rate_times_20(program: Program) -> None:
    """The learning rate is 20 times what it should be."""
    program.lr *= 20


@cases.mutant(10, ["mlp", "cnn", "vit", "gpt", "regression"], accepts=["lr-too-low"])
def rate_times_1e_4(program: Program) -> None:
    """The learning rate is a ten-thousandth of what it should be."""
    program.lr *= 1e-4


@cases.mutant(11, ["mlp", "resnet"], accepts=["lr-zero"])
def rate_zero(program: Program) -> None:
    """The learning rate is 0."""
    program.lr = 0.0


@cases.mutant(14, ["mlp", "cnn", "resnet"], accepts=["weight-decay-dominates"])
def decay_of_1(program: Program) -> None:
    """SGD with weight decay 1.0."""
    program.optimizer, program.lr = torch.optim.SGD, 0.05
    program.options = {"momentum": 0.9, "weight_decay": 1.0}


@cases.mutant(14, ["vit", "gpt"], accepts=["weight-decay-dominates", "decay-on-norms"])
def adamw_decay_of_100(program: Program) -> None:
    """AdamW with weight decay 100."""
    program.optimizer, program.options = torch.optim.AdamW, {"weight_decay": 100.0}


@cases.mutant(15, ["vit", "gpt"], accepts=["decay-on-norms", "weight-decay-dominates"])
def strong_decay_on_everything(program: Program) -> None:
    """AdamW with weight decay 2 on norms, biases and embeddings too."""
    program.optimizer, program.options = torch.optim.AdamW, {"weight_decay": 2.0}


@cases.mutant(16, ["mlp", "vit"], accepts=["coupled-decay", "weight-decay-dominates"])
def decay_of_adamw_in_adam(program: Program) -> None:
    """Adam is given the weight decay of 0.1 of a recipe for AdamW."""
    program.optimizer, program.options = torch.optim.Adam, {"weight_decay": 0.1}


@cases.mutant(17, ["mlp", "vit", "gru"], accepts=["adam-eps-dominates"])
def eps_of_a_tenth(program: Program) -> None:
    """Adam's epsilon is 0.1."""
    program.optimizer, program.options = torch.optim.Adam, {"eps": 0.1}


@cases.mutant(17, ["mlp", "gpt"], accepts=["momentum-too-high"])
def betas_swapped(program: Program) -> None:
    """Adam's betas are given in the wrong order."""
    program.optimizer, program.options = torch.optim.Adam, {"betas": (0.999, 0.9)}


@cases.mutant(18, ["cnn", "resnet", "mlp"], accepts=["momentum-too-high"])
def momentum_of_0_999(program: Program) -> None:
    """SGD with momentum 0.999."""
    program.optimizer, program.lr, program.options = torch.optim.SGD, 0.05, {"momentum": 0.999}


@cases.mutant(19, ["mlp", "cnn", "resnet"], accepts=["clipping-dominates"])
def clipped_at_1e_5(program: Program) -> None:
    """The gradient is clipped at norm 1e-5."""
    program.optimizer, program.lr, program.options = torch.optim.SGD, 0.05, {"momentum": 0.9}
    program.clip_norm = 1e-5


@cases.mutant(26, ["mlp", "gpt"], accepts=["loss-spike"])
def stale_second_moment(program: Program) -> None:
    """After quiet steps, in which the loss hardly counts, the second moment is too small for the gradient."""
    inner = program.loss_fn
    program.optimizer, program.options = torch.optim.Adam, {"betas": (0.9, 0.999)}
    program.lr *= 2
    program.epochs += 1

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        number = getattr(program, "step_number", 0)
        return inner(outputs, targets) * (1e-3 if 40 <= number < 100 else 1.0)

    program.loss_fn = loss


@cases.mutant(114, ["mlp", "vit"], accepts=["update-below-resolution", "lr-too-low"])
def bfloat16_weights_and_small_rate(program: Program) -> None:
    """The weights are bfloat16 and the rate is 1e-5: most updates round to nothing."""
    program.model = program.model.to(torch.bfloat16)
    program.optimizer, program.lr, program.options = torch.optim.SGD, 1e-3, {}
    prepare = program.prepare
    program.prepare = lambda x: prepare(x).to(torch.bfloat16)
