"""The stages: what a Job runs, one module for each, and what they share."""
