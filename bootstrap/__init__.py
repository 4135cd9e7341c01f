"""Makes the project-local environment, with nothing but the standard library: `python3.11 -m bootstrap`."""
