"""How good lists of recommendations are: metrics, the baselines that a model must beat, and their TFMA side."""
