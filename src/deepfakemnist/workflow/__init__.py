"""What the Snakefile and its scripts use: the run plan, and the frame around every script."""
