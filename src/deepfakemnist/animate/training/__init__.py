"""Training of a First Order Motion Model on clips of one's own."""
