"""Self-reenactment: an animator's error on clips whose truth is known."""
