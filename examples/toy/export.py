"""A small transformer in PyTorch: define it, train it, export it, and record what PyTorch itself answers.

Run by `make toy`, in the image that the Dockerfile here describes. Writes model.onnx and golden.npz into a folder.

The question needs attention, and anyone can check the answer: does the first token occur again in the sequence?
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

VOCABULARY, SEQUENCE, WIDTH, HEADS, HIDDEN = 512, 128, 48, 2, 96
STEPS, BATCH, RATE = 1200, 128, 3e-3
GOLDEN_ROWS, GOLDEN_LENGTH = 32, 48
OPSET = 17
INPUTS = ["input_ids", "attention_mask"]
OUTPUT = "scores"


class Toy(nn.Module):  # type: ignore[misc]  # PyTorch is not among the packages of development
    """One layer as BERT has it: attention and a small network, each added to its input and normalized."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(torch.randn(SEQUENCE, WIDTH) * 0.02)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))
        self.classes = nn.Linear(WIDTH, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and a mask (1: a token, 0: padding), both [batch, sequence], to scores [batch, 2]: no, yes."""
        x = self.norms[0](self.tokens(input_ids) + self.positions[: input_ids.shape[1]])
        x = self.norms[1](x + self.out(self.attend(x, attention_mask)))
        x = self.norms[2](x + self.down(functional.gelu(self.up(x))))
        return self.classes(x[:, 0])

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        """What each position takes from all that are no padding."""
        q, k, v = (self.split(linear(x)) for linear in (self.query, self.key, self.value))
        hidden = (1.0 - mask[:, None, None, :].to(x.dtype)) * -10000.0  # softmax makes nothing of it
        weights = torch.softmax(q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5 + hidden, dim=-1)
        return (weights @ v).permute(0, 2, 1, 3).reshape(x.shape[0], x.shape[1], WIDTH)

    def split(self, x: Tensor) -> Tensor:
        """[batch, sequence, width] to [batch, head, sequence, width of a head]."""
        return x.reshape(x.shape[0], x.shape[1], HEADS, WIDTH // HEADS).permute(0, 2, 1, 3)


def examples(rows: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random sequences, padded at their ends, and the right answers: in half of them the first token occurs again."""
    ids = torch.randint(0, VOCABULARY, (rows, length))
    lengths = torch.randint(length // 2, length + 1, (rows,))
    places = 1 + (torch.rand(rows) * (lengths - 1)).long()
    again = torch.rand(rows) < 0.5
    ids[again, places[again]] = ids[again, 0]
    mask = (torch.arange(length) < lengths[:, None]).long()
    answers = ((ids[:, 1:] == ids[:, :1]) & mask[:, 1:].bool()).any(1).long()
    return ids * mask, mask, answers


def train(model: Toy) -> None:
    """Short sequences first: in them the token that matters is easier to find."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for step in range(STEPS):
        lengths = (16, 32) if step < STEPS * 2 // 3 else (16, 32, 64, SEQUENCE)
        ids, mask, answers = examples(BATCH, lengths[int(torch.randint(0, len(lengths), ()))])
        loss = functional.cross_entropy(model(ids, mask), answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def main(folder: Path) -> None:
    """Everything from one seed, so that the same image makes the same files."""
    torch.manual_seed(5)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = Toy()
    train(model)
    model.eval().requires_grad_(False)
    ids, mask, answers = examples(1000, SEQUENCE)
    right = (model(ids, mask).argmax(1) == answers).float().mean()
    print(
        f"{sum(p.numel() for p in model.parameters())} parameters, {right:.1%} of 1000 new sequences classified correctly"
    )
    ids, mask, _ = examples(GOLDEN_ROWS, GOLDEN_LENGTH)
    arrays = dict(
        zip((*(f"input:{name}" for name in INPUTS), f"output:{OUTPUT}"), (ids, mask, model(ids, mask)), strict=True)
    )
    np.savez_compressed(folder / "golden.npz", **{name: tensor.numpy() for name, tensor in arrays.items()})
    torch.onnx.export(
        model,
        (ids, mask),
        str(folder / "model.onnx"),
        input_names=INPUTS,
        output_names=[OUTPUT],
        dynamic_axes={**{name: {0: "batch", 1: "sequence"} for name in INPUTS}, OUTPUT: {0: "batch"}},
        opset_version=OPSET,
        dynamo=False,  # the newer exporter needs onnxscript, which Debian does not have
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
