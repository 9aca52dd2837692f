"""Thin-Plate-Spline Motion Model (Zhao and Zhang, CVPR 2022, arXiv 2203.14367)."""
