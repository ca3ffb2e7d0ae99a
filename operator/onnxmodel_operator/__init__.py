"""The operator: watches OnnxModel resources and turns each into a proven, served model.

Everything but `cluster/`, `handlers`, `reconcile`, `workqueue`, `web` and `__main__` is pure: no I/O, no clock, no globals.
"""
