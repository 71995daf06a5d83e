"""RPC server for Fibonacci numbers over the Redis protocol."""

import os

from fibcommon import __version__

__all__ = ["__version__"]

# OpenBLAS starts a thread per core when numpy is imported. Nothing here needs those threads, and
# a process with threads must not fork its workers. OpenBLAS reads the variable on import; this
# file is imported before any other module of the package.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
