"""The only schemas of Polymerge: what the gateway, the workers and the clients say to each other."""
