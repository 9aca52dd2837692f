"""Quality of animations: action transfer, identity preservation, sharpness."""
