"""Real parts of the ecosystem beside the local cluster, for tests: each a Go module of its own, and how to run it.

They are built from their modules by the machinery of the cluster (dev/cluster/golang.py) and run as processes of this
machine, in the cluster's network. `python -m dev.addons` builds all of them.
"""
