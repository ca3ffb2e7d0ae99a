"""Live traffic as the servers' own metrics tell of it: read from the pods, kept for a while, compared over windows."""
