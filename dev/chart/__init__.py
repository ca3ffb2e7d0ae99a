"""The chart's generated parts."""
