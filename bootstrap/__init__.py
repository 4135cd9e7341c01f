"""Creates the project-local environment with only the standard library: `python3.11 -m bootstrap`."""
