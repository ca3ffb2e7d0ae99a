"""What a spec means on this platform: the platform team's settings and policy, and what follows from them for one model."""
