"""The section `data.bigquery` of an experiment. This module imports no Google library."""

from pydantic import Field

from components.google_cloud.names import Project
from trainer_module.frozen import Frozen


class BigQueryConfig(Frozen):
    """Where queries run and who pays for them.

    Attributes:
        project: Id of the project that queries and reads are billed to; the tables may lie in others.
        location: Region or multi-region of the datasets, as in `EU` or `europe-west4`. Empty lets BigQuery find out
            from the tables of the query.
        dataset: Dataset of the project for results while they are read, which are removed afterwards. Empty leaves them
            to BigQuery, which keeps 10 GB at most.
        max_gb: Gigabytes (10^9 bytes) that one query may be billed for; a larger one fails before it runs. None sets
            no limit.
    """

    project: Project
    location: str = Field(default="", pattern=r"^([A-Za-z]+(-[a-z]+)*[0-9]*)?$")
    dataset: str = Field(default="", pattern=r"^\w*$")
    max_gb: float | None = Field(default=None, gt=0)
