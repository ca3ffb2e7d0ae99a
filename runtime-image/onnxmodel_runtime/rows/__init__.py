"""Whether rows of different requests may be computed in one run, and get the answers that they would get alone.

    judge.py    what the graph says: the one rule for the server, Triton and the benchmark
    walk.py     follows the batch through the graph; values.py and extents.py: what it knows on the way
    table.py    the table of operators, whose rules are in elementwise, moving,
                gathering, products, images, along, classical, fused and sequences
    trial.py    what a session says: rows together and alone

Pure, but for the sessions of the trial. What is not in the tables is unknown, and unknown rows are not computed together.
"""

INFLUENCED = "rows of one batch influence each other"
REASON_CHARACTERS = 200  # of each variant: a termination message has room for seven
