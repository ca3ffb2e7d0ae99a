"""The process that runs a stage: its parent, its limits, and how it reports to both."""
