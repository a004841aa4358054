SELECT d.name AS database_name, CASE WHEN d.name = DB_NAME() THEN 1 ELSE 0 END AS is_here
  FROM sys.databases AS d
 WHERE d.name = ?;
