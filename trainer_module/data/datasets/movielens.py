"""MovieLens, GroupLens' movie ratings, and generated ratings in the layout of MovieLens 100K.

Layout of MovieLens 100K (GroupLens' README of ml-100k): `u.data` holds user, item, rating and Unix time, tab separated;
`u.user` and `u.item` hold the attributes, separated by `|`. The reader adds the columns `genres`, `release_year`,
`release_decade`, `title_words` and `age_group`.
"""

from typing import Any

from trainer_module.data.dataset import USER_ACTIVITY, Dataset

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

# Generated ratings, whose best reachable error is known.
SYNTHETIC = MOVIELENS_100K.model_copy(update={"name": "synthetic", "license_note": ""})
