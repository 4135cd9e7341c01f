"""MovieLens 100K and the synthetic dataset, which share one file layout and so one feature spec.

Layout (GroupLens' README of ml-100k): `u.data` holds user, item, rating and Unix time, tab separated; `u.user` and
`u.item` hold the attributes, separated by `|`.
"""

from trainer_module.data.features import Categorical, Context, FeatureSpec, Label, Numeric, Table, Vocabulary
from trainer_module.data.spec import DatasetSpec

FEATURES = FeatureSpec(
    columns=(
        Categorical(name="user_id", table="user_id"),
        Categorical(name="movie_id", table="movie_id"),
        Categorical(name="gender", table="gender"),
        Categorical(name="occupation", table="occupation"),
        Categorical(name="genres", table="genres", multivalent=True),
        Numeric(name="age"),
        Numeric(name="release_year", required=False),
        Label(name="rating"),
        Context(name="timestamp", dtype="int64"),  # seconds since 1970, UTC; orders interactions
        Context(name="title"),
        Context(name="age_group"),  # decade of the user's age, as in 20-29
        Context(name="user_activity"),  # bucket of the user's number of ratings in the training split
        Context(name="release_decade"),  # as in 1990s
    ),
    tables=(
        Table(name="user_id"),
        Table(name="movie_id", vocabulary=Vocabulary(min_frequency=2)),
        Table(name="gender"),
        Table(name="occupation"),
        Table(name="genres", combiner="mean"),
    ),
)

MOVIELENS_100K = DatasetSpec(
    name="movielens-100k",
    features=FEATURES,
    schema_file="movielens.pbtxt",
    label_range=(1.0, 5.0),
    user_key="user_id",
    item_key="movie_id",
    slices=("gender", "age_group", "user_activity", "release_decade"),
    license_note=(
        "MovieLens 100K is GroupLens' data: for research only, not to be redistributed or used commercially without "
        "permission; publications cite Harper and Konstan, 'The MovieLens Datasets', ACM TiiS 5(4), 2015."
    ),
)

SYNTHETIC = MOVIELENS_100K.model_copy(update={"name": "synthetic", "directory": "synthetic", "license_note": ""})

# Ratings with the neighbours of both sides.
_NEIGHBOURS = FeatureSpec(
    columns=(
        *FEATURES.columns,
        # Some of the movies that the user rated in the training split, and of the users who rated the movie there,
        # without this rating. Tables of their own, as SVD++ has them.
        Categorical(name="rated", table="rated", multivalent=True),
        Categorical(name="raters", table="raters", multivalent=True),
    ),
    tables=(
        *FEATURES.tables,
        Table(name="rated", combiner="sqrtn"),
        Table(name="raters", combiner="sqrtn"),
    ),
)

MOVIELENS_100K_NEIGHBOURS = MOVIELENS_100K.model_copy(
    update={"name": "movielens-100k-neighbours", "features": _NEIGHBOURS, "schema_file": "movielens_neighbours.pbtxt"}
)

SYNTHETIC_NEIGHBOURS = MOVIELENS_100K_NEIGHBOURS.model_copy(
    update={"name": "synthetic-neighbours", "directory": SYNTHETIC.directory, "license_note": ""}
)

# The same files as interactions: which movies a user rated, and when, whatever the rating.
INTERACTIONS = FeatureSpec(
    columns=(
        Categorical(name="user_id", table="user_id"),
        Categorical(name="gender", table="gender"),
        Categorical(name="occupation", table="occupation"),
        Numeric(name="age"),
        Numeric(name="timestamp", dtype="int64"),  # seconds since 1970, UTC; orders interactions
        # Movies that the user rated before, the latest last. All of them are training rows' own movies too.
        Categorical(name="history", table="movie_id", multivalent=True, counted=False),
        Categorical(name="movie_id", table="movie_id"),
        Categorical(name="title_words", table="title_words", multivalent=True),  # lower case, without the year
        Categorical(name="genres", table="genres", multivalent=True),
        Numeric(name="release_year", required=False),
        Label(name="rating"),
        Context(name="title"),
        Context(name="age_group"),  # decade of the user's age, as in 20-29
        Context(name="user_activity"),  # bucket of the user's number of ratings in the training split
    ),
    tables=(
        Table(name="user_id"),
        Table(name="gender"),
        Table(name="occupation"),
        Table(name="movie_id", frequencies=True),
        Table(name="title_words"),
        Table(name="genres"),
    ),
)

MOVIELENS_100K_RETRIEVAL = MOVIELENS_100K.model_copy(
    update={
        "name": "movielens-100k-retrieval",
        "features": INTERACTIONS,
        "schema_file": "movielens_retrieval.pbtxt",
        "task": "retrieval",
        "candidate_columns": ("movie_id", "title_words", "genres", "release_year"),
        "title_key": "title",
        "slices": ("gender", "age_group", "user_activity"),
    }
)

SYNTHETIC_RETRIEVAL = MOVIELENS_100K_RETRIEVAL.model_copy(
    update={"name": "synthetic-retrieval", "directory": SYNTHETIC.directory, "license_note": ""}
)
