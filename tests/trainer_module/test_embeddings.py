from trainer_module.embeddings import feature_configs
from trainer_module.experiment import RatingModelConfig

ROWS = {"user": 21, "item": 13, "tags": 4}


def test_columns_of_one_table_hold_the_same_object(world):
    configs = feature_configs(world.spec, ROWS, RatingModelConfig())
    assert configs["tags"].table is configs["main_tag"].table
    assert configs["user"].table is not configs["item"].table


def test_tables_are_as_declared(world):
    configs = feature_configs(world.spec, ROWS, RatingModelConfig(embedding_dim=8))
    item, tags = configs["item"].table, configs["tags"].table
    assert (item.name, item.vocabulary_size, item.dim, item.combiner) == ("item", 13, 8, "mean")
    assert (tags.name, tags.vocabulary_size, tags.dim, tags.combiner) == ("tags", 4, 2, "sum")
