"""MovieLens, GroupLens' movie ratings in all published sizes, and generated ratings in the layout of MovieLens 100K.

Layout of MovieLens 100K (GroupLens' README of ml-100k): `u.data` holds user, item, rating and Unix time, tab separated;
`u.user` and `u.item` hold the attributes, separated by `|`. The reader adds the columns `genres`, `release_year`,
`release_decade`, `title_words` and `age_group`.

The larger datasets hold genres in one field and the year in the title (GroupLens' READMEs): MovieLens 1M and 10M
separate fields by `::` and have no header, the others are CSV with one. Only 100K and 1M describe users; 1M gives ages
and occupations as codes.
"""

from typing import Any

from trainer_module.data.dataset import USER_ACTIVITY, Dataset
from trainer_module.data.tables import InteractionsTable

# In the order of the flags in u.item (GroupLens' README of ml-100k).
GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip

LICENSE_NOTE = (
    "MovieLens is GroupLens' data: for research only, not to be redistributed or used commercially without permission; "
    "publications cite Harper and Konstan, 'The MovieLens Datasets', ACM TiiS 5(4), 2015."
)


def _tokens(name: str, several: bool = False) -> dict[str, Any]:
    """A column all of whose tokens get a row."""
    return {"name": name, "multivalent": several, "vocabulary": {"min_frequency": 1}}


MOVIELENS_100K = Dataset.model_validate(
    {
        "name": "movielens-100k",
        "layout": "movielens-100k",
        "task": "rating",
        "label_range": (1, 5),
        "slices": ("gender", "age_group", USER_ACTIVITY, "release_decade"),
        "schema_file": "movielens-100k.pbtxt",
        "license_note": LICENSE_NOTE,
        "tables": {
            "interactions": {
                "files": "u.data",
                "delimiter": "\t",
                "quoted": False,
                "column_names": ("user_id", "movie_id", "rating", "timestamp"),
                "user": "user_id",
                "item": "movie_id",
                "label": "rating",
                "time": {"name": "timestamp", "unit": "s"},
            },
            "users": {
                "files": "u.user",
                "delimiter": "|",
                "quoted": False,
                "column_names": ("user_id", "age", "gender", "occupation", "zip_code"),
                "key": "user_id",
                "categorical": (_tokens("gender"), _tokens("occupation")),
                "numeric": ("age",),
                "context": ("age_group",),
                "unmatched": "bad_row",
            },
            "items": {
                "files": "u.item",
                "delimiter": "|",
                "encoding": "iso-8859-1",
                "quoted": False,
                "column_names": ("movie_id", "title", "release_date", "video_release_date", "imdb_url", *GENRES),
                "key": "movie_id",
                "title": "title",
                "categorical": (_tokens("title_words", several=True), _tokens("genres", several=True)),
                "numeric": ("release_year",),
                "context": ("release_decade",),
                "unmatched": "bad_row",
            },
        },
    }
)


def _larger(
    name: str,
    label_range: tuple[float, float],
    slices: tuple[str, ...],
    interactions: dict[str, Any],
    items: dict[str, Any],
    users: dict[str, Any] | None = None,
) -> Dataset:
    """A dataset of the layout that all but 100K have; the features are called as those of 100K."""
    user, item, rating, time = interactions["column_names"] or ("userId", "movieId", "rating", "timestamp")
    interactions = interactions | {
        "user": {"name": user, "feature": "user_id"},
        "item": {"name": item, "feature": "movie_id"},
        "label": rating,
        "time": {"name": time, "unit": "s"},
    }
    items = items | {
        "key": item,
        "title": "title",
        "categorical": (_tokens("title_words", several=True), _tokens("genres", several=True)),
        "numeric": ("release_year",),
        "context": ("release_decade",),
        "unmatched": "bad_row",
    }
    return Dataset.model_validate(
        {
            "name": name,
            "layout": "movielens",
            "task": "rating",
            "label_range": label_range,
            "slices": slices,
            "license_note": LICENSE_NOTE,
            "tables": {"interactions": interactions, "items": items} | ({"users": users} if users else {}),
        }
    )


def _dat(file: str, names: tuple[str, ...], encoding: str = "utf-8") -> dict[str, Any]:
    """A file of MovieLens 1M or 10M."""
    return {"files": file, "delimiter": "::", "quoted": False, "column_names": names, "encoding": encoding}


_RATINGS = ("user_id", "movie_id", "rating", "timestamp")
_MOVIES = ("movie_id", "title", "genres")

MOVIELENS_1M = _larger(
    "movielens-1m",
    (1, 5),
    ("gender", "age_group", USER_ACTIVITY, "release_decade"),
    _dat("ratings.dat", _RATINGS),
    _dat("movies.dat", _MOVIES, "iso-8859-1"),
    _dat("users.dat", ("user_id", "gender", "age", "occupation", "zip_code"))
    | {
        "key": "user_id",
        "categorical": (_tokens("gender"), _tokens("age"), _tokens("occupation"), "zip_code"),
        "context": ("age_group",),
        "unmatched": "bad_row",
    },
)
MOVIELENS_10M = _larger(
    "movielens-10m",
    (0.5, 5),
    (USER_ACTIVITY, "release_decade"),
    _dat("ratings.dat", _RATINGS),
    _dat("movies.dat", _MOVIES),
)


def _csv(name: str) -> Dataset:
    """MovieLens 20M and later: ratings in half stars, CSV with a header."""
    return _larger(
        name,
        (0.5, 5),
        (USER_ACTIVITY, "release_decade"),
        {"files": "ratings.csv", "column_names": ()},
        {"files": "movies.csv"},
    )


FAMILY = (
    MOVIELENS_100K,
    MOVIELENS_1M,
    MOVIELENS_10M,
    _csv("movielens-20m"),
    _csv("movielens-25m"),
    _csv("movielens-32m"),
    _csv("movielens-latest-small"),
)

# The same ratings as likes, 4 and 5 stars, and as the movies that a user likes among all.
MOVIELENS_100K_LIKES = MOVIELENS_100K.model_copy(
    update={
        "name": "movielens-100k-likes",
        "directory": MOVIELENS_100K.name,
        "task": "click",
        "label_range": None,
        # The curated one describes stars.
        "schema_file": "",
        "tables": MOVIELENS_100K.tables.model_copy(
            update={
                "interactions": InteractionsTable.model_validate(
                    MOVIELENS_100K.tables.interactions.model_dump() | {"label": {"name": "rating", "positive_from": 4}}
                )
            }
        ),
    }
)

# Generated ratings, whose best reachable error is known.
SYNTHETIC = MOVIELENS_100K.model_copy(update={"name": "synthetic", "license_note": ""})

DATASETS = (*FAMILY, MOVIELENS_100K_LIKES, SYNTHETIC)
