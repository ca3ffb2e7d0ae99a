"""The only part that talks to Kubernetes: reading through a cache that kopf feeds, writing by server-side apply."""
