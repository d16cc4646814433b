"""Language models and translation, by a ninth author, who had not read the rules, without any threshold.

See `healthy_ninth.py`.
"""

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_ninth import batch_of
from benchmarks.chart.healthy_ninth_texts import reviews
from benchmarks.chart.second import SecondCases, Split, token_accuracy, token_loss
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_linnerud, load_wine
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

cases = SecondCases("ninth")


@cache
def book(block: int = 240) -> tuple[Tensor, Tensor, int]:
    """Letters of scikit-learn's descriptions of six data sets for training and, every ninth block, for validation.

    The third is the size of the alphabet.
    """
    loads = (load_iris, load_digits, load_wine, load_breast_cancer, load_diabetes, load_linnerud)
    text = " ".join(" ".join(load().DESCR.lower().split()) for load in loads)
    letters = sorted(set(text))
    data = torch.tensor([letters.index(c) for c in text]).split(block)
    train = torch.cat([part for i, part in enumerate(data) if i % 9 != 8])
    return train, torch.cat([part for i, part in enumerate(data) if i % 9 == 8]), len(letters)


class GPT(nn.Module):
    """A decoder in the manner of nanoGPT."""

    def __init__(self, size: int, length: int, width: int = 64, heads: int = 4, layers: int = 2, drop: float = 0.0):
        super().__init__()
        self.wte, self.wpe, self.drop = nn.Embedding(size, width), nn.Embedding(length, width), nn.Dropout(drop)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, drop, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, size, bias=False)
        self.lm_head.weight = self.wte.weight
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length))
        self.apply(self._start)

    def _start(self, m: nn.Module) -> None:
        if isinstance(m, nn.Linear | nn.Embedding):
            nn.init.normal_(m.weight, std=0.02)
            if isinstance(m, nn.Linear) and m.bias is not None:
                nn.init.zeros_(m.bias)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Logits and, where targets are given, their loss."""
        t = idx.shape[1]
        x = self.drop(self.wte(idx) + self.wpe(torch.arange(t)))
        for block in self.blocks:
            x = block(x, src_mask=self.mask[:t, :t], is_causal=True)
        logits = self.lm_head(self.ln_f(x))
        return logits, None if targets is None else token_loss(logits, targets)


@cases.recipe("gpt", 0.42)
def nanogpt_on_words_of_reviews(harness: Harness, seed: int) -> float:
    """get_batch, weight tying, AdamW with betas 0.9 and 0.95, decay for matrices only, warm-up, cosine, clip at 1."""
    texts, _, size = reviews()
    stream = torch.cat([F.pad(t, (0, 1)) for t in texts])  # 0 parts them.
    train_data, val_data, length = stream[:15000], stream[15000:], 24
    model = GPT(size, length)
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=4e-3, betas=(0.9, 0.95))

    def get_batch(data: Tensor, count: int = 16) -> tuple[Tensor, Tensor]:
        at = torch.randint(len(data) - length - 1, (count,))
        return torch.stack([data[i : i + length] for i in at]), torch.stack([data[i + 1 : i + length + 1] for i in at])

    @torch.no_grad()
    def estimate_loss() -> dict[str, float]:
        model.eval()
        out = {
            name: float(np.mean([float(model(*get_batch(d))[1]) for _ in range(8)]))
            for name, d in (("train", train_data), ("val", val_data))
        }
        model.train()
        return out

    harness.begin(model, optimizer)
    for it in range(240):
        rate = 4e-3 * (it + 1) / 30 if it < 30 else 4e-4 + 1.8e-3 * (1 + math.cos(math.pi * (it - 30) / 210))
        for group in optimizer.param_groups:
            group["lr"] = rate
        if it % 48 == 47:
            losses = estimate_loss()
            harness.epoch(train={"loss": losses["train"]}, val={"loss": losses["val"]})
        xb, yb = get_batch(train_data)
        logits, loss = model(xb, yb)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        harness.step(loss=loss, inputs=xb, targets=yb, outputs=logits)
    model.eval()
    with torch.no_grad():
        xb, yb = get_batch(val_data, 64)
        return token_accuracy(model(xb)[0], yb)


@cases.recipe("lstm", 0.28)
def characters_by_lstm(harness: Harness, seed: int) -> float:
    """Characters by a one-layer LSTM in windows, Adam 5e-3, clipping at 1; accuracy of the next letter."""
    text, held, size = book()
    (x, y), (vx, vy) = ((p[:, :-1], p[:, 1:]) for p in (text.unfold(0, 33, 8), held.unfold(0, 33, 16)))

    class CharRNN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.rnn = nn.Embedding(size, 32), nn.LSTM(32, 96, batch_first=True)
            self.drop, self.decoder = nn.Dropout(0.3), nn.Linear(96, size)

        def forward(self, x: Tensor) -> Tensor:
            return self.decoder(self.drop(self.rnn(self.encoder(x))[0]))

    model = CharRNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    harness.begin(model, optimizer, loss_fn=token_loss)
    value = 0.0
    for _ in range(4):
        model.train()
        losses = []
        for rows in torch.randperm(len(x)).split(32):
            model.zero_grad()
            out = model(x[rows])
            loss = token_loss(out, y[rows])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
            losses.append(loss.item())
        model.eval()
        with torch.no_grad():
            out = model(vx)
        value = token_accuracy(out, vy)
        val_loss = float(token_loss(out, vy))
        harness.epoch(train={"loss": float(np.mean(losses))}, val={"loss": val_loss, "accuracy": value})
    return value


@cases.recipe("lm", 0.25)
def next_letter_by_an_mlp(harness: Harness, seed: int) -> float:
    """The lecture's MLP: eight letters embedded in ten numbers, a tanh layer of 128, SGD at 0.3, then 0.03."""
    text, held, size = book()
    (x, y), (vx, vy) = ((p[:, :8], p[:, 8]) for p in (text.unfold(0, 9, 1), held.unfold(0, 9, 1)))
    model = nn.Sequential(nn.Embedding(size, 10), nn.Flatten(), nn.Linear(80, 128), nn.Tanh(), nn.Linear(128, size))
    with torch.no_grad():
        model[-1].weight *= 0.1
        model[-1].bias.zero_()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    harness.begin(model, optimizer)
    log = []
    for i in range(700):
        xb, yb = batch_of(64, x, y)
        logits = model(xb)
        loss = F.cross_entropy(logits, yb)
        model.zero_grad()
        loss.backward()
        if i == 500:
            optimizer.param_groups[0]["lr"] = 0.03
        optimizer.step()
        log.append(math.log10(loss.item()))
        harness.step(loss=loss.item())
    with torch.no_grad():
        return float((model(vx).argmax(1) == vy).float().mean())


def sentences(count: int = 1400) -> Split:
    """Pairs of tokens: a sentence (N, 8) and the same in another language (N, 9).

    Words 3..22 become 3..22 of the other side by a fixed table; adjectives (3..9) go behind nouns. 0 is padding, 1
    begins and 2 ends.
    """
    draw = np.random.default_rng(961)
    table = np.concatenate([[0, 1, 2], 3 + draw.permutation(20)])
    x, y = np.zeros((count, 8), np.int64), np.zeros((count, 9), np.int64)
    for i in range(count):
        said: list[int] = []
        told: list[int] = []
        while len(said) < draw.integers(3, 6):
            noun = int(draw.integers(10, 23))
            if draw.random() < 0.5:
                adjective = int(draw.integers(3, 10))
                said, told = [*said, adjective, noun], [*told, table[noun], table[adjective]]
            else:
                said, told = [*said, noun], [*told, table[noun]]
        said, told = said[:7], told[:7]
        x[i, : len(said) + 1] = [*said, 2]
        y[i, : len(told) + 2] = [1, *told, 2]
    return tuple(torch.tensor(a) for a in (x[:1150], y[:1150], x[1150:], y[1150:]))  # type: ignore[return-value]


@cases.recipe("seq2seq", 0.85)
def sentences_by_a_transformer(harness: Harness, seed: int) -> float:
    """nn.Transformer with masks for padding and for the future, label smoothing, Adam with 0.98, warm-up, clipping."""
    x, y, vx, vy = sentences()

    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.src, self.tgt, self.pos = nn.Embedding(23, 48), nn.Embedding(23, 48), nn.Embedding(10, 48)
            self.transformer = nn.Transformer(48, 4, 1, 1, 96, 0.1, batch_first=True)
            self.generator = nn.Linear(48, 23)

        def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
            mask = torch.ones(tgt.shape[1], tgt.shape[1], dtype=torch.bool).triu(1)
            a = self.src(src) + self.pos(torch.arange(src.shape[1]))
            b = self.tgt(tgt) + self.pos(torch.arange(tgt.shape[1]))
            out = self.transformer(
                a, b, tgt_mask=mask, src_key_padding_mask=src == 0, tgt_key_padding_mask=tgt == 0,
                memory_key_padding_mask=src == 0,
            )  # fmt: skip
            return self.generator(out)

    model = Translator()
    for p in model.parameters():
        if p.dim() > 1:
            nn.init.xavier_uniform_(p)
    criterion = nn.CrossEntropyLoss(ignore_index=0, label_smoothing=0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.98), eps=1e-9)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=60)
    harness.begin(model, optimizer)
    value = 0.0
    for _ in range(9):
        model.train()
        total, batches = 0.0, 0
        for rows in torch.randperm(len(x)).split(40):
            out = model(x[rows], y[rows, :-1])
            loss = criterion(out.flatten(0, 1), y[rows, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            harness.step(loss=loss, inputs=(x[rows], y[rows, :-1]), targets=y[rows, 1:], outputs=out)
            total, batches = total + loss.item(), batches + 1
        model.eval()
        with torch.no_grad():
            out = model(vx, vy[:, :-1])
            val_loss = float(criterion(out.flatten(0, 1), vy[:, 1:].flatten()))
        value = token_accuracy(out, torch.where(vy[:, 1:] > 0, vy[:, 1:], -100))
        harness.epoch(train={"loss": total / batches}, val={"loss": val_loss, "accuracy": value})
    return value


@cases.recipe("seq2seq", 0.75)
def sentences_by_a_gru_with_attention(harness: Harness, seed: int) -> float:
    """An encoder and a decoder with dot attention, two Adams as in the tutorial, teacher forcing, NLL of real words."""
    x, y, vx, vy = sentences()

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.gru = nn.Embedding(23, 40), nn.GRU(40, 48, batch_first=True)
            self.out = nn.Linear(96, 23)

        def forward(self, words: Tensor, seen: Tensor, state: Tensor, blank: Tensor) -> Tensor:
            h = self.gru(self.embedding(words), state)[0]
            scores = (h @ seen.transpose(1, 2) / math.sqrt(48)).masked_fill(blank[:, None], -1e9)
            return self.out(torch.cat([h, scores.softmax(2) @ seen], 2)).log_softmax(2)

    class EncoderRNN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.gru = nn.Embedding(23, 40, padding_idx=0), nn.GRU(40, 48, batch_first=True)
            self.dropout = nn.Dropout(0.1)

        def forward(self, words: Tensor) -> Any:
            packed = pack_padded_sequence(
                self.dropout(self.embedding(words)), (words > 0).sum(1), batch_first=True, enforce_sorted=False
            )
            seen, state = self.gru(packed)
            return pad_packed_sequence(seen, batch_first=True, total_length=words.shape[1])[0], state

    encoder, decoder = EncoderRNN(), Decoder()
    optimizers = [torch.optim.Adam(m.parameters(), lr=5e-3) for m in (encoder, decoder)]
    criterion = nn.NLLLoss(ignore_index=0)

    def translate(a: Tensor, b: Tensor) -> Tensor:
        seen, state = encoder(a)
        return decoder(b[:, :-1], seen, state, a == 0)

    harness.begin([encoder, decoder], optimizers)
    value = 0.0
    for _ in range(8):
        encoder.train()
        decoder.train()
        total, batches = 0.0, 0
        for rows in torch.randperm(len(x)).split(32):
            for optimizer in optimizers:
                optimizer.zero_grad()
            out = translate(x[rows], y[rows])
            loss = criterion(out.flatten(0, 1), y[rows, 1:].flatten())
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            harness.step(loss=loss)
            total, batches = total + loss.item(), batches + 1
        encoder.eval()
        decoder.eval()
        with torch.no_grad():
            out = translate(vx, vy)
            val_loss = float(criterion(out.flatten(0, 1), vy[:, 1:].flatten()))
        value = token_accuracy(out, torch.where(vy[:, 1:] > 0, vy[:, 1:], -100))
        harness.epoch(train={"loss": total / batches}, val={"loss": val_loss})
    return value
