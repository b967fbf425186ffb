"""``python -m postflight``, as the installed command."""

import sys

from postflight.command import main

sys.exit(main())
