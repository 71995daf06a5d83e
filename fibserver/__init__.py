"""fibserver: an RPC server for the first N Fibonacci numbers."""

import os
from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("fibservice")

# OpenBLAS starts a thread for each core when numpy is imported, though nothing here needs it,
# and a process with threads must not fork: workers are forked. It reads this at that moment, and
# whatever is first imported of this package, this file is imported before.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
