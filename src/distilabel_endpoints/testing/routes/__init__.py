"""What answers at which path: pure functions from a request to an answer."""
