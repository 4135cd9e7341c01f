"""Statistics of examples, as TFX's StatisticsGen writes them."""
