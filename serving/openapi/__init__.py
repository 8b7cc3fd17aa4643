"""What the service says of itself: the OpenAPI document, the shapes in it, and the page at ``/docs``."""
