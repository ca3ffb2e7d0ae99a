"""Decide whether rows of different requests may share a run, and get the outputs that they would get alone.

    judge.py    the verdict by the graph: the one rule for the server, Triton and the benchmark
    walk.py     traces the batch through the graph; values.py and extents.py: the facts on the way
    table.py    the table of operators, whose rules are in elementwise, moving,
                gathering, products, images, along, classical, fused and sequences
    trial.py    a test on a session: rows together and alone

Pure, but for the sessions of the trial. What is not in the tables is unknown, and unknown rows are not computed together.
"""

INFLUENCED = "rows of one batch influence each other"
REASON_CHARACTERS = 200  # of each variant: a termination message has room for seven
