"""`python -m headlong.cli`, for where the command is not on the path."""

import sys

from headlong.cli import main

sys.exit(main())
