"""Models: reading them, what their inputs and outputs are, and running them."""
