"""``python -m deepfakemnist.cli``: the command where it is not on PATH, for example under torchrun."""

import sys

from deepfakemnist.cli.main import main

sys.exit(main())
