"""Dataset manifest, splits, integrity checks, confound and identity audit, import and release."""
