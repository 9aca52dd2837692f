"""The dataset as others meet it: splits, checks against the disk, the confound audit, import and release."""
