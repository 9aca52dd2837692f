"""Reenactment on a landmark mesh, without trained weights; after Averbuch-Elor et al. 2017."""
