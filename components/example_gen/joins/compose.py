"""The joins of a dataset."""

from components.example_gen.joins.attributes import ItemAttributes, OwnColumns, UserAttributes
from components.example_gen.joins.histories import HistoryJoin
from components.example_gen.joins.join import Join
from components.example_gen.joins.neighbours import NeighbourJoin
from trainer_module.data.dataset import Dataset


def joins_of(dataset: Dataset) -> list[Join]:
    """What makes the columns of the dataset's examples, each column by one join."""
    joins: list[Join] = []
    if dataset.user_key:
        joins.append(UserAttributes(dataset))
    if dataset.item_key:
        joins.append(ItemAttributes(dataset))
    joins.append(OwnColumns(dataset))
    if dataset.history:
        joins.append(HistoryJoin(dataset.history, with_targets=dataset.task == "retrieval"))
    if dataset.neighbours:
        joins.append(NeighbourJoin(dataset.neighbours))
    return joins
