"""``python -m postflight`` is ``postflight``."""

import sys

from postflight.command import main

sys.exit(main())
