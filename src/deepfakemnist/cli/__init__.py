"""The command ``deepfakemnist``, one module per subcommand."""
