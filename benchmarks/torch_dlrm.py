"""The benchmark workload in PyTorch: sparse embeddings and Adagrad. Needs only PyTorch and numpy.

.venv-benchmark/bin/python -m benchmarks.torch_dlrm WORKLOAD [bfloat16]

With `bfloat16` the dense part runs under autocast. Prints one JSON line; see `benchmarks.training`.
"""

import json
import sys

import numpy as np
import torch  # pyright: ignore[reportMissingImports] (of another environment)

from benchmarks.workload import Workload, peak_memory, throughput


class Dlrm(torch.nn.Module):
    """The model of `trainer_module.models.dlrm` with the same initial values."""

    def __init__(self, workload: Workload):
        super().__init__()
        self.tables = torch.nn.ModuleList()
        for number, rows in enumerate(workload.rows):
            values = np.fromfile(workload.file(f"table-{number}.f32"), np.float32).reshape(rows, workload.dim)
            self.tables.append(torch.nn.Embedding.from_pretrained(torch.from_numpy(values), freeze=False, sparse=True))
        dense = np.load(workload.file("dense.npz"))
        layers = [self._linear(dense[f"kernel-{n}"], dense[f"bias-{n}"]) for n in range(len(workload.dense_shapes))]
        of_bottom = len(workload.bottom) + 1
        # ReLU follows every layer of the bottom MLP and all but the last of the top MLP.
        self.bottom = torch.nn.Sequential(*(part for layer in layers[:of_bottom] for part in (layer, torch.nn.ReLU())))
        top = [part for layer in layers[of_bottom:] for part in (layer, torch.nn.ReLU())]
        self.top = torch.nn.Sequential(*top[:-1])
        num_vectors = len(workload.rows) + 1
        self.pairs = torch.tril_indices(num_vectors, num_vectors, offset=-1)

    @staticmethod
    def _linear(kernel: np.ndarray, bias: np.ndarray) -> torch.nn.Linear:
        linear = torch.nn.Linear(*kernel.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(kernel.T))
            linear.bias.copy_(torch.from_numpy(bias))
        return linear

    def forward(self, numbers: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Maps numbers, float32 `[batch, num_numbers]`, and ids, int64 `[num_tables, batch]`, to logits `[batch]`."""
        dense = self.bottom(numbers)
        vectors = torch.stack([dense, *(table(of) for table, of in zip(self.tables, ids, strict=True))], dim=1)
        products = torch.bmm(vectors, vectors.transpose(1, 2))
        dots = products[:, self.pairs[0], self.pairs[1]]
        return self.top(torch.cat([dense, dots], dim=1)).squeeze(1)


class Trainer:
    """Trains on the data set in memory, in the same order in every epoch."""

    def __init__(self, workload: Workload, bfloat16: bool):
        self._model = Dlrm(workload)
        self._bfloat16 = bfloat16
        sparse = list(self._model.tables.parameters())
        dense = [*self._model.bottom.parameters(), *self._model.top.parameters()]
        options = {
            "lr": workload.learning_rate,
            "initial_accumulator_value": workload.initial_accumulator_value,
            "eps": workload.epsilon,
        }
        self._optimizers = [torch.optim.Adagrad(sparse, **options), torch.optim.Adagrad(dense, foreach=True, **options)]
        self._numbers = torch.from_numpy(np.load(workload.file("numbers.npy")))
        # Makes the ids of each table contiguous.
        self._ids = torch.from_numpy(np.ascontiguousarray(np.load(workload.file("ids.npy")).T))
        self._labels = torch.from_numpy(np.load(workload.file("labels.npy")))
        self._loss = torch.nn.BCEWithLogitsLoss()
        self._position = 0

    def run(self, num_steps: int, batch_size: int) -> float:
        """Trains for `num_steps` and returns the mean loss."""
        total = torch.zeros(())
        for _ in range(num_steps):
            if self._position + batch_size > len(self._labels):
                self._position = 0
            batch = slice(self._position, self._position + batch_size)
            self._position += batch_size
            for optimizer in self._optimizers:
                optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
                logits = self._model(self._numbers[batch], self._ids[:, batch])
            loss = self._loss(logits.float(), self._labels[batch])
            loss.backward()
            for optimizer in self._optimizers:
                optimizer.step()
            total += loss.detach()
        return float(total) / num_steps


def main() -> None:
    workload, bfloat16 = Workload.load(sys.argv[1]), sys.argv[2:] == ["bfloat16"]
    trainer = Trainer(workload, bfloat16)
    losses = [trainer.run(workload.checked_steps, workload.batch_sizes[0]) for _ in range(2)]
    rates, peaks = {}, {}
    for size in workload.batch_sizes:
        rates[size] = throughput(lambda steps, size=size: trainer.run(steps, size), size, workload.seconds)
        peaks[size] = peak_memory()
    name = "PyTorch, bfloat16" if bfloat16 else "PyTorch"
    # Rounding to 8 bits changes losses by more than another order of summation does.
    found = {"losses": [] if bfloat16 else losses, "rates": {name: rates}, "peaks": peaks, "waiting": {}}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
