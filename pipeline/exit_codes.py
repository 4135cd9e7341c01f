"""Exit codes of commands, beside 0."""

FAILED = 1
NOT_PUSHED = 3
# Requests, or answers to them, are not what the model was trained for and gives.
SKEWED = 4
# EX_TEMPFAIL of sysexits.h: try again.
PREEMPTED = 75
# What shells give a command that Ctrl-C has ended.
INTERRUPTED = 130
