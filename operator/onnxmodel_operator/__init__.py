"""The operator: watches OnnxModel resources and turns each into a proven, served model.

Everything but `cluster/`, `outage`, `reconcile`, `workqueue`, `web`, `metrics`, `local` and `__main__` is pure: no I/O, no
clock, no globals.
"""
