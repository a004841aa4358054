"""Flow 2: events of a Delta table applied to SQL Server, exactly once."""
