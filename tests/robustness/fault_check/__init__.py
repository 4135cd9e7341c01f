"""Breaks runs of the pipeline on purpose, and checks that the next run mends them: `make fault-check`.

`site` holds a small experiment and runs the command on it, `kills` kills runs at random points, `faults` damages disks,
files and surroundings. It takes half an hour, so it is no part of the tests.
"""
