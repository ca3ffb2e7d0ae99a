"""Run the operator: watch, queue, reconcile, write, and tell how it goes."""
