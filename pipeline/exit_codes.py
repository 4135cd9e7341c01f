"""Exit codes of commands, beside 0."""

FAILED = 1
NOT_PUSHED = 3
# Logged requests differ from the training data, or logged answers from the model's.
SKEWED = 4
# Nothing of the log could be compared.
UNCHECKED = 5
# EX_TEMPFAIL of sysexits.h: try again.
PREEMPTED = 75
# What shells give a command that Ctrl-C has ended.
INTERRUPTED = 130
