"""LivePortrait (Guo et al., arXiv 2407.03168) for inference with its authors' weights."""
