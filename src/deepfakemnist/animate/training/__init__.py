"""Training of a First Order Motion Model on custom clips."""
