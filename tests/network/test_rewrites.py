"""Rewrites: what is promised equal is equal, what is not is changed as said, and the user's model stays as it is."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.fusion import fuse_conv_bn_eval

import snellen
from snellen.errors import UseError
from snellen.findings import Finding
from snellen.network.rewrites import (
    batchnorm_to_groupnorm,
    batchnorm_to_syncbatchnorm,
    drop_bias_before_norm,
    fuse_batchnorm,
)


class Normed(nn.Module):
    """Biased layers of every sort in front of BatchNorm, and one that has a second reader."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=4)
        self.norm2 = nn.BatchNorm2d(16, affine=False)
        self.up = nn.ConvTranspose2d(16, 8, 4, 2, 1, groups=2)
        self.norm3 = nn.BatchNorm2d(8, momentum=None)
        self.shared = nn.Conv2d(8, 8, 1)
        self.norm4 = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 6)
        self.norm5 = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).relu()
        x = self.norm2(self.grouped(x)).relu()
        x = self.norm3(self.up(x)).relu()
        x = self.shared(x)
        x = (x + self.norm4(x)).relu().mean((2, 3))
        out: Tensor = self.head(self.norm5(self.fc(x)).relu())
        return out


PAIRS = [("conv", "norm"), ("grouped", "norm2"), ("up", "norm3"), ("fc", "norm5")]
SHAPE = (4, 3, 16, 16)


def seasoned(model: nn.Module, shape: tuple[int, ...] = SHAPE) -> nn.Module:
    """With statistics and scales that are not those of a fresh BatchNorm."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(shape) * 2 + 1)
    return model


def seasoned_double() -> nn.Module:
    torch.manual_seed(0)
    return seasoned(Normed()).double()


def test_dropping_biases_changes_neither_outputs_nor_updates_in_training_or_testing() -> None:
    model = seasoned_double().train()
    before = copy.deepcopy(model.state_dict())
    new = snellen.rewrite(model, ["drop-bias-before-norm"], inputs=SHAPE)
    assert [n for n, _ in PAIRS if new.get_submodule(n).bias is not None] == []
    assert new.shared.bias is not None  # Its output is read by the sum too.
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    torch.testing.assert_close(
        copy.deepcopy(new).eval()(x := torch.randn(SHAPE).double()), copy.deepcopy(model).eval()(x)
    )
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (model, new)]
    for step in range(5):
        torch.manual_seed(step)
        images, labels = torch.randn(SHAPE).double(), torch.randint(4, (4,))
        outputs = []
        for network, optimizer in zip((model, new), optimizers, strict=True):
            optimizer.zero_grad()
            outputs.append(network(images))
            cross_entropy(outputs[-1], labels).backward()
            optimizer.step()
        torch.testing.assert_close(outputs[1], outputs[0])
    mine = dict(new.named_parameters())
    for name, parameter in model.named_parameters():
        if name in mine:
            torch.testing.assert_close(mine[name], parameter)
    torch.testing.assert_close(new.eval()(x), model.eval()(x))


def test_fused_outputs_are_those_of_evaluation() -> None:
    torch.manual_seed(0)
    model = seasoned(Normed())
    new = fuse_batchnorm(model, PAIRS)
    x = torch.randn(SHAPE)
    assert model.training
    assert not new.training
    assert isinstance(new.norm, nn.Identity)
    assert isinstance(model.norm, nn.BatchNorm2d)
    torch.testing.assert_close(new(x), copy.deepcopy(model).eval()(x), atol=1e-5, rtol=1e-5)


def test_fusing_agrees_with_pytorch() -> None:
    torch.manual_seed(0)
    model = seasoned(Normed()).eval()
    new = fuse_batchnorm(model, PAIRS[:2])
    for layer, norm in PAIRS[:2]:
        theirs = fuse_conv_bn_eval(model.get_submodule(layer), model.get_submodule(norm))
        torch.testing.assert_close(new.get_submodule(layer).weight, theirs.weight)
        torch.testing.assert_close(new.get_submodule(layer).bias, theirs.bias)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "efficientnet_b0", "repvgg_a0", "densenet121"])
def test_published_networks_fuse_within_rounding(name: str) -> None:
    torch.manual_seed(0)
    model = seasoned(timm.create_model(name, num_classes=10), (2, 3, 64, 64)).eval()
    new = snellen.rewrite(model, "fuse-batchnorm", inputs=(1, 3, 64, 64))
    x = torch.randn(1, 3, 64, 64).double()
    norms = [sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules()) for net in (model, new)]
    assert norms[1] < norms[0]
    # In float64, where what is left is the rounding of the fused weights to float32.
    with torch.no_grad():
        ours, theirs = new.double()(x), model.double()(x)
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < 1e-5


def test_groupnorm_keeps_scale_and_shift_and_divides_the_channels() -> None:
    model = seasoned(Normed())
    new = batchnorm_to_groupnorm(model, ["norm", "norm2", "norm5"], groups=6)
    assert isinstance(new.norm, nn.GroupNorm)
    assert new.norm.num_groups == 4
    assert new.norm2.num_groups == 4
    assert new.norm5.num_groups == 1
    assert torch.equal(new.norm.weight, model.norm.weight)
    assert new.norm.weight is not model.norm.weight
    assert new.norm2.weight is None
    assert isinstance(new.norm4, nn.BatchNorm2d)
    alone, other = torch.randn(2, 3, 16, 16)
    whole = batchnorm_to_groupnorm(Normed())
    # No image depends on its neighbours in the batch any more, while training too.
    both = whole(torch.stack([alone, other]))
    torch.testing.assert_close(whole(alone[None])[0], both[0])


def test_syncbatchnorm_keeps_everything_the_norm_knew() -> None:
    model = seasoned(Normed()).eval()
    new = batchnorm_to_syncbatchnorm(model)
    assert all(torch.equal(v, model.state_dict()[n]) for n, v in new.state_dict().items())
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in new.modules()) == 5
    x = torch.randn(SHAPE)
    torch.testing.assert_close(new(x), model(x))


def test_an_activation_inside_a_norm_stays() -> None:
    model = seasoned(timm.create_model("efficientnet_b0", num_classes=10), (2, 3, 64, 64)).eval()
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(batchnorm_to_syncbatchnorm(model)(x), model(x))


def test_a_finding_carries_its_own_rewrite() -> None:
    model = seasoned(Normed())
    found = snellen.inspect(model, input_size=16).network
    assert found is not None
    from snellen.rules.network.bias_before_norm import BiasBeforeNorm

    finding = next(iter(BiasBeforeNorm().check(found)))
    new = snellen.rewrite(model, [finding])
    assert new.conv.bias is None
    assert new.shared.bias is not None
    with pytest.raises(UseError, match="names no rewrite"):
        snellen.rewrite(model, [Finding(message="odd", rule="even-kernel")])


@pytest.mark.parametrize(
    ("what", "words"),
    [(["shrink"], "no rewrite is called 'shrink'"), (["fuse-batchnorm"], "feeds a BatchNorm alone")],
)
def test_what_cannot_be_done_is_said(what: list[str], words: str) -> None:
    with pytest.raises(UseError, match=words):
        snellen.rewrite(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), what, inputs=(1, 3, 8, 8))


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight - self.weight.mean(), self.bias)


def test_layers_that_use_their_weights_otherwise_are_refused() -> None:
    model = nn.Sequential(Standardised(3, 4, 3), nn.BatchNorm2d(4))
    with pytest.raises(UseError, match="in its own way"):
        fuse_batchnorm(model, [("0", "1")])
    with pytest.raises(UseError, match="has no layer 'gone'"):
        drop_bias_before_norm(model, [("0", "gone")])
    with pytest.raises(UseError, match="no running statistics"):
        fuse_batchnorm(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), [("0", "1")])
