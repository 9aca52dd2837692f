"""Human study: how well people tell the dataset's fakes from its reals."""
