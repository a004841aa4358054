"""Stand-ins for SQL Server and Databricks that start on a laptop from wheels alone.

Nothing here imports the bridge, and the bridge's own layers do not know that this package exists: the two meet over
sockets only, so a stand-in can't agree with a bug of the client.
"""
