"""SQL-Databricks Bridge: typed data movement between SQL Server and Databricks."""

import os

__version__ = "0.1.0"

# Arrow's own allocators keep freed pages: with the C library's a process of the bridge peaks at 240 MiB and not at 300,
# at the same speed (m: benchmarks/extract.py, 5 M rows). It has to be said before pyarrow is imported.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
