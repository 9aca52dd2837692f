"""Finding faces in frames, following one through a clip, and cutting the square clip it stays in."""
