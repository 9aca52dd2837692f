"""Face animation: animator protocol and registry, motion extraction, animation stages, animator training."""
