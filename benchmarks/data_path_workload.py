"""The rows and the model of `benchmarks.data_path`, for all contenders."""

from pathlib import Path

import numpy as np

DIM, BOTTOM, TOP = 16, 16, 64
BATCH_SIZE = 1024
TABLE_RATE = DENSE_RATE = 0.001
NUM_USERS, NUM_ITEMS = 50_000, 20_000


def write_ratings(path: Path, num_rows: int, num_users: int | None = None) -> None:
    """Writes a CSV file with the columns `user`, `item`, `number` and `rating`.

    Few users and items have most of the rows; a rating is the sum of biases, a little of the number, and noise.

    Args:
        path: The file.
        num_rows: Number of ratings.
        num_users: Users who take turns, so that all have the same number of ratings; None draws them from 50,000.
    """
    random = np.random.default_rng(0)
    of_user, of_item = random.normal(0, 0.5, num_users or NUM_USERS), random.normal(0, 0.5, NUM_ITEMS)
    with open(path, "w") as file:
        file.write("user,item,number,rating\n")
        for start in range(0, num_rows, 1_000_000):
            size = min(1_000_000, num_rows - start)
            in_turn = np.arange(start, start + size) % num_users if num_users else None
            user = random.zipf(1.3, size) % NUM_USERS if in_turn is None else in_turn
            item = random.zipf(1.2, size) % NUM_ITEMS
            number = random.normal(size=size)
            rating = np.clip(3.5 + of_user[user] + of_item[item] + 0.1 * number + random.normal(0, 0.5, size), 1, 5)
            rows = zip(user.tolist(), item.tolist(), number.tolist(), rating.tolist(), strict=True)
            file.writelines(f"u{u},i{i},{n:.4f},{r:.2f}\n" for u, i, n, r in rows)
