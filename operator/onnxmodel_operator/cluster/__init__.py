"""The only part that talks to Kubernetes: reading through a cache that watches feed, writing by server-side apply."""
