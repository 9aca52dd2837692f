"""Dataset manifest, splits, integrity checks, confound audit, import and release."""
