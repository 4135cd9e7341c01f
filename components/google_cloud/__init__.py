"""Names, targets, clients and calls of Google Cloud, shared by the deployer and by `pipeline.vertex`."""
