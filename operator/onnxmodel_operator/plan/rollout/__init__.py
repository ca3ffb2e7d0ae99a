"""Rollout of a revision: its Deployment, its replicas, the traffic, and the revision that served before."""
