"""How a revision comes to serve: its Deployment, its replicas, the traffic, and what served before it."""
