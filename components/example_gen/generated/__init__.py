"""Generated datasets whose best reachable result is known."""
