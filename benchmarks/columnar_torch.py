"""Polars and PyTorch from a CSV file to test metrics: what a user would write by hand, without gates or serving.

.venv-benchmark/bin/python -m benchmarks.columnar_torch CSV

Prints one JSON line: seconds by step, and RMSE and MAE on the test split.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch  # pyright: ignore[reportMissingImports] (of another environment)

from benchmarks.data_path_workload import BATCH_SIZE, BOTTOM, DENSE_RATE, DIM, TABLE_RATE, TOP


class Model(torch.nn.Module):
    """A DLRM of two tables and one number, as `trainer_module.models.dlrm` builds it."""

    def __init__(self, rows: tuple[int, int]):
        super().__init__()
        self.tables = torch.nn.ModuleList(torch.nn.Embedding(size, DIM, sparse=True) for size in rows)
        self.bottom = torch.nn.Sequential(
            torch.nn.Linear(1, BOTTOM), torch.nn.ReLU(), torch.nn.Linear(BOTTOM, DIM), torch.nn.ReLU()
        )
        self.top = torch.nn.Sequential(torch.nn.Linear(DIM + 3, TOP), torch.nn.ReLU(), torch.nn.Linear(TOP, 1))

    def forward(self, ids: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Maps ids `[2, batch]` and numbers `[batch, 1]` to ratings `[batch]`."""
        dense = self.bottom(numbers)
        user, item = (table(of) for table, of in zip(self.tables, ids, strict=True))
        dots = torch.stack([(user * item).sum(1), (user * dense).sum(1), (item * dense).sum(1)], dim=1)
        return self.top(torch.cat([dense, dots], dim=1)).squeeze(1)


def main(path: Path) -> None:
    """Reads, splits, learns vocabularies, trains one epoch, and measures."""
    seconds = {}
    started = time.perf_counter()

    def lap(step: str) -> None:
        nonlocal started
        seconds[step], started = time.perf_counter() - started, time.perf_counter()

    table = pl.read_csv(path)
    lap("read")
    split = np.random.default_rng(0).choice(3, table.height, p=(0.8, 0.1, 0.1))
    train = split == 0
    ids, rows = [], []
    for name in ("user", "item"):
        known = table.filter(pl.Series(train)).select(name).unique().with_row_index("id")
        joined = table.select(name).join(known, on=name, how="left", maintain_order="left")
        ids.append(joined["id"].fill_null(known.height).to_numpy().astype(np.int64))
        rows.append(known.height + 1)
    number = table["number"].to_numpy()
    number = ((number - number[train].mean()) / number[train].std()).astype(np.float32)
    label = table["rating"].to_numpy().astype(np.float32)
    lap("split and vocabularies")
    all_ids, numbers, labels = (
        torch.from_numpy(np.stack(ids)),
        torch.from_numpy(number)[:, None],
        torch.from_numpy(label),
    )
    torch.manual_seed(0)
    model = Model((rows[0], rows[1]))
    model.top[-1].bias.data.fill_(float(label[train].mean()))
    optimizers = [
        torch.optim.SparseAdam(list(model.tables.parameters()), lr=TABLE_RATE),
        torch.optim.Adam([*model.bottom.parameters(), *model.top.parameters()], lr=DENSE_RATE),
    ]
    order = torch.from_numpy(np.random.default_rng(1).permutation(np.flatnonzero(train)))
    for batch in order.split(BATCH_SIZE):
        loss = torch.mean((model(all_ids[:, batch], numbers[batch]) - labels[batch]) ** 2)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    lap("train")
    test = torch.from_numpy(np.flatnonzero(split == 2))
    with torch.no_grad():
        errors = torch.cat([model(all_ids[:, rows], numbers[rows]) - labels[rows] for rows in test.split(65_536)])
    metrics = {"rmse": float(errors.square().mean().sqrt()), "mae": float(errors.abs().mean())}
    lap("evaluate")
    print(json.dumps({"seconds": seconds, "metrics": metrics}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
