"""An ExampleValidator that stops the pipeline on anomalies."""
