"""Command line interface ``deepfakemnist``, one module per subcommand."""
