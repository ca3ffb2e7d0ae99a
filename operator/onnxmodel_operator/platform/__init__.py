"""The platform team's settings and policy, and the meaning of a spec under them."""
