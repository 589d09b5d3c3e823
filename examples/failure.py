"""How the example programs end on a mistake: one sentence, no wall of usage or traceback."""

import os
import sys


class Failure(SystemExit):
    """Ends the program with a message and status 1."""

    def __init__(self, message):
        super().__init__(f"{os.path.basename(sys.argv[0])}: {message}")
