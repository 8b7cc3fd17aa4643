"""The benchmark of the service: its lake, its peers, its load."""
