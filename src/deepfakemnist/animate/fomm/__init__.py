"""First Order Motion Model (Siarohin et al., NeurIPS 2019, arXiv 2003.00196): network, inference, checkpoints."""
