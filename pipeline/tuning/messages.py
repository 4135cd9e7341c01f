"""What a worker and the process that started it say to each other, in lines of JSON that take turns."""

# Kinds of a worker's messages, in the key `kind`. READY and those that end a trial are answered by a job, or by null if
# there are no more; EVALUATED is answered by whether to go on.
READY, EVALUATED, FINISHED, STOPPED, DIVERGED, FAILED = (
    "ready",
    "evaluated",
    "finished",
    "stopped",
    "diverged",
    "failed",
)
