"""The run report of a local run: the component's page, and the sections that only the runner knows."""
