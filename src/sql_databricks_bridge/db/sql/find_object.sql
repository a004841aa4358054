SELECT s.name AS schema_name, o.name AS object_name, o.type AS kind,
       CASE WHEN s.name = ? THEN 1 ELSE 0 END AS is_named,
       CASE WHEN s.name = SCHEMA_NAME() THEN 1 ELSE 0 END AS is_default,
       CASE WHEN s.name = N'dbo' THEN 1 ELSE 0 END AS is_dbo
  FROM {catalog}sys.objects AS o
  JOIN {catalog}sys.schemas AS s ON s.schema_id = o.schema_id
 WHERE o.name = ?;
