"""Runs the Beam components on a Flink cluster of this machine, kills task managers, compares: `make flink-check`.

`artifacts` gets Flink and Beam's job server, `cluster` starts and kills their processes, `compare` compares what two
runs left. It takes several minutes, so it is no part of the tests.
"""
