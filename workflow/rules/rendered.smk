"""Clips rendered elsewhere: the plan of what to render."""


localrules:
    plan_pairs,


rule plan_pairs:
    """The plan of all clips to render elsewhere, with the crops; then `deepfakemnist plan export` writes them."""
    input:
        pairs_to_render,
