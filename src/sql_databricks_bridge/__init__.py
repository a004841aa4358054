"""SQL-Databricks Bridge: typed data movement between SQL Server and Databricks."""

__version__ = "0.1.0"
