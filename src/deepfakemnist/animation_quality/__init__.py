"""Quality assessment of animations: action transfer, identity preservation, sharpness, tearing."""
