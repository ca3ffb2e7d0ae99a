"""Models in a cluster, by kubectl: it knows every way to sign in, so do the commands that use it."""
