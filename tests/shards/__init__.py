"""Several databases behind a router."""
