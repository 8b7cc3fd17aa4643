"""A request: from a query string or a body to one checked value, or to a list of every fault."""
