"""Faults inside transformers: norms, shortcuts, scale, masks, positions, projections."""

import math

import torch
from benchmarks.chart.case import Cases
from benchmarks.chart.networks import Block, SelfAttention
from benchmarks.chart.program import Data, Program
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = Cases("transformers")

AXIS = {"norm-over-wrong-axis"}


class NormOverTokens(nn.Module):
    """Layer norm along the tokens."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(tokens)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


@cases.mutant(69, ["vit", "gpt"], accepts=AXIS, place="norm")
def norm_over_tokens(program: Program) -> None:
    """Layer norm runs over the tokens, not over the features."""
    tokens = 17 if hasattr(program.model, "patches") else program.train_data.x.shape[1]
    for block in program.model.blocks:
        block.norm1, block.norm2 = NormOverTokens(tokens), NormOverTokens(tokens)


class NormOfAll(nn.Module):
    """Layer norm of everything."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        return F.layer_norm(x, x.shape)


@cases.mutant(69, ["vit", "gpt"], accepts=AXIS | {"samples-mixed"})
def norm_over_the_batch(program: Program) -> None:
    """Layer norm runs over the whole batch."""
    for block in program.model.blocks:
        block.norm1, block.norm2 = NormOfAll(), NormOfAll()


class Bare(Block):
    """A block without shortcuts."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        return self.drop(self.mlp(self.norm2(self.drop(self.attn(self.norm1(x))))))


@cases.mutant(70, ["vit", "gpt"], accepts={"residual-missing"}, place="blocks")
def no_shortcuts(program: Program) -> None:
    """The blocks do not add their input."""
    causal = program.task == "language"
    program.model.blocks = nn.Sequential(*(Bare(32, 4, causal) for _ in range(3)))


class HalfBare(Block):
    """A block whose attention has no shortcut."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        x = self.drop(self.attn(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))


@cases.mutant(70, ["vit", "gpt"], accepts={"residual-missing"}, place="blocks")
def no_shortcut_around_attention(program: Program) -> None:
    """Only the feed-forward half adds its input."""
    causal = program.task == "language"
    program.model.blocks = nn.Sequential(*(HalfBare(32, 4, causal) for _ in range(3)))


class Unscaled(SelfAttention):
    """Attention whose scores are q k."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1)
        if self.causal:
            scores = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), float("-inf"))
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, d))


@cases.mutant(71, ["vit", "gpt"], accepts={"attention-not-scaled"}, place="attn")
def scores_not_scaled(program: Program) -> None:
    """The scores of one wide head are not divided by sqrt(d)."""
    for block in program.model.blocks:
        block.attn = Unscaled(32, 1, program.task == "language")


class ScaledWrongly(SelfAttention):
    """Fused attention with a scale of 1."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, scale=1.0)
        return self.proj(out.transpose(1, 2).reshape(n, t, d))


@cases.mutant(71, ["vit", "gpt"], accepts={"attention-not-scaled"}, place="attn")
def fused_scale_of_one(program: Program) -> None:
    """scaled_dot_product_attention is called with scale=1 on heads of 16."""
    for block in program.model.blocks:
        block.attn = ScaledWrongly(32, 2, program.task == "language")


FUTURE = {"future-visible", "future-leakage"}


@cases.mutant(72, ["gpt"], accepts=FUTURE, place="attn")
def no_causal_mask(program: Program) -> None:
    """The mask of the language model is gone."""
    for block in program.model.blocks:
        block.attn.causal = False


class TwoWays(nn.Module):
    """A language model that reads the text in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn = nn.Embedding(20, 32), nn.GRU(32, 32, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 20)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) -> (N, T, 20)."""
        return self.head(self.rnn(self.embed(tokens))[0])


@cases.mutant(72, ["gpt"], accepts=FUTURE, place="rnn")
def bidirectional_language_model(program: Program) -> None:
    """A bidirectional GRU foretells the next token."""
    program.model = TwoWays()


class Sentences(nn.Module):
    """Classes of padded token sequences by nn.TransformerEncoder and the mean of the real tokens."""

    def __init__(self, mask: str, positions: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(21, 32, padding_idx=0)
        self.position = nn.Parameter(torch.randn(1, 24, 32) * 0.1) if positions else None
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head, self.mask = nn.Linear(32, 2), mask

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) -> (N, 2)."""
        x = self.embed(tokens)
        if self.position is not None:
            x = x + self.position[:, : tokens.shape[1]]
        real = tokens != 0
        mask = {"right": ~real, "inverted": real, "none": None}[self.mask]
        x = self.encoder(x, src_key_padding_mask=mask) * real[..., None]
        return self.head(x.sum(1) / real.sum(1, keepdim=True))


def sentences(count: int, seed: int, *, ordered: bool) -> Data:
    """Token sequences of 6 to 24 ids; class: does id 1 come before id 2, or is it there at all."""
    pick = torch.Generator().manual_seed(seed)
    x = torch.randint(3, 21, (count, 24), generator=pick)
    y = torch.randint(2, (count,), generator=pick)
    at = torch.rand(count, 6, generator=pick).argsort(1)[:, :2].sort(1).values
    for row, (label, (early, late)) in enumerate(zip(y.tolist(), at.tolist(), strict=True)):
        x[row, early], x[row, late] = (1, 2) if label else (2, 1) if ordered else (3, 2)
    length = torch.randint(6, 25, (count, 1), generator=pick)
    return Data(x.masked_fill(torch.arange(24) >= length, 0), y)


def read_sentences(program: Program, model: nn.Module, *, ordered: bool = False) -> None:
    """Make the program one that classifies sentences."""
    program.model, program.task, program.loss_fn = model, "classification", F.cross_entropy
    program.train_data, program.val_data = (sentences(n, s, ordered=ordered) for n, s in ((640, 1), (256, 2)))
    program.prepare, program.epochs, program.lr = (lambda x: x), 4, 2e-3
    program.score_fn = lambda out, y: float((out.argmax(1) == y).float().mean())


PADDING = {"attention-on-padding", "padding-attended"}


@cases.mutant(73, ["gpt", "vit"], accepts=PADDING, place="self_attn")
def no_padding_mask(program: Program) -> None:
    """Attention over padded sentences without a mask."""
    read_sentences(program, Sentences("none"))


@cases.mutant(73, ["gpt", "vit"], accepts=PADDING, place="self_attn")
def padding_mask_inverted(program: Program) -> None:
    """The mask of padded sentences is True where tokens are real."""
    read_sentences(program, Sentences("inverted"))


@cases.mutant(74, ["vit"], accepts={"token-order-ignored"})
def no_positions_of_patches(program: Program) -> None:
    """The vision transformer does not know where its patches lie."""
    model = program.model
    del model.position
    model.register_buffer("position", torch.zeros(1, 17, 32))


@cases.mutant(74, ["gpt"], accepts={"token-order-ignored"})
def no_positions_of_words(program: Program) -> None:
    """A sentence classifier without positions, where the order of two words is the class."""
    read_sentences(program, Sentences("right", positions=False), ordered=True)


class Separate(nn.Module):
    """Attention with three projections of its own."""

    def __init__(self, width: int, causal: bool) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out, self.causal, self.cut = nn.Linear(width, width), causal, False

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        q, k, v = self.query(x), self.key(x), self.value(x)
        scores = q @ k.transpose(-2, -1) / math.sqrt(x.shape[-1])
        if self.causal:
            t = x.shape[1]
            scores = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), float("-inf"))
        return self.out(scores.softmax(-1) @ v)


@cases.mutant(75, ["vit", "gpt"], accepts={"projection-dead", "symmetric-units"}, place="attn")
def query_and_key_start_at_zero(program: Program) -> None:
    """The rows of query and key in the fused projection start at zero, so neither ever gets a gradient."""
    for block in program.model.blocks:
        with torch.no_grad():
            block.attn.qkv.weight[:64].zero_()
            block.attn.qkv.bias[:64].zero_()


@cases.mutant(75, ["vit", "gpt"], accepts={"projection-dead"}, place="attn")
def one_projection_frozen(program: Program) -> None:
    """The value projection of each block is frozen by mistake."""
    for block in program.model.blocks:
        block.attn = Separate(32, program.task == "language")
        block.attn.value.requires_grad_(False)
