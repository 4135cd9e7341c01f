"""Target of requests: project, region, account and API address.

This module imports no Google library, because `recspan --help` reads it too.
"""

from typing import Literal

from components.google_cloud.names import Endpoint, Labels, Network, Project, Region, ServiceAccount
from trainer_module.frozen import Frozen

_CONSOLE = "https://console.cloud.google.com"


class Target(Frozen):
    """Project and region in which everything is created, and the identity under which it runs.

    Attributes:
        project: Id of the project.
        region: Region of everything that is started.
        service_account: Account of the pipeline, its custom jobs, Dataflow and deployed models; empty means Compute
            Engine's default service account.
        network: Network that is peered with the machines of the pipeline, the Trainer and a deployed vector index.
        labels: Labels of the run, its custom jobs, its Dataflow jobs and of everything that is deployed.
        endpoint: Address of the Vertex AI API; empty means the region's public one. Private Service Connect needs
            another.
    """

    project: Project
    region: Region
    service_account: Literal[""] | ServiceAccount = ""
    network: Literal[""] | Network = ""
    labels: Labels = {}
    endpoint: Literal[""] | Endpoint = ""

    @property
    def api(self) -> str:
        """Address of the Vertex AI API."""
        return self.endpoint or f"{self.region}-aiplatform.googleapis.com"

    @property
    def location(self) -> str:
        """Resource name of the project's location, the parent of everything that is created."""
        return f"projects/{self.project}/locations/{self.region}"

    @property
    def account(self) -> str:
        """The service account in words."""
        return self.service_account or "Compute Engine's default service account"

    def console_url(self, page: str) -> str:
        """Returns the address of a page of Google's console, with the project selected."""
        return f"{_CONSOLE}/{page}?project={self.project}"
