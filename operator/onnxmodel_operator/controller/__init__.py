"""Run the operator: watch, queue, reconcile, write, and report its health."""
