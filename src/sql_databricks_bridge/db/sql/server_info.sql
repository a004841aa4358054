SELECT CAST(SERVERPROPERTY('ServerName') AS nvarchar(128)) AS server_name,
       CAST(DB_NAME() AS nvarchar(128)) AS database_name,
       CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)) AS product_version,
       CAST(SUSER_SNAME() AS nvarchar(128)) AS login_name,
       CAST((SELECT d.snapshot_isolation_state FROM sys.databases AS d WHERE d.name = DB_NAME()) AS int) AS snapshot_state
