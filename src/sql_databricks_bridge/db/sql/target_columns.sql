SELECT s.name AS schema_name, o.name AS object_name, o.object_id AS target_id, o.type AS object_type,
       o.is_ms_shipped AS is_shipped, DB_NAME() AS database_name,
       HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'VIEW DEFINITION') AS sees_everything,
       c.name AS column_name, y.name AS type_name, y.is_user_defined, y.is_assembly_type, b.name AS base_type_name,
       c.max_length, c.precision, c.scale, c.is_nullable, c.collation_name,
       CAST(COLLATIONPROPERTY(c.collation_name, 'CodePage') AS int) AS code_page, c.default_object_id,
       c.is_identity, c.is_computed, c.is_hidden, c.generated_always_type,
       t.*
  FROM sys.schemas AS s
  LEFT JOIN sys.objects AS o ON o.schema_id = s.schema_id AND o.name = ?
  LEFT JOIN sys.tables AS t ON t.object_id = o.object_id
  LEFT JOIN sys.columns AS c ON c.object_id = o.object_id
  LEFT JOIN sys.types AS y ON y.user_type_id = c.user_type_id
  LEFT JOIN sys.types AS b ON b.user_type_id = c.system_type_id
 WHERE s.name = ?
 ORDER BY c.column_id;
