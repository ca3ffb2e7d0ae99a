"""What a front costs, the part between sockets and the protocol: this project's own next to others."""
