SELECT c.name AS column_name, y.name AS type_name, c.max_length, c.precision, c.scale, c.is_nullable, c.collation_name,
       (SELECT ic.key_ordinal
          FROM sys.indexes AS i
          JOIN sys.index_columns AS ic ON ic.object_id = i.object_id AND ic.index_id = i.index_id
         WHERE i.object_id = c.object_id AND ic.column_id = c.column_id AND i.is_primary_key = 1) AS key_ordinal
  FROM sys.schemas AS s
  JOIN sys.tables AS t ON t.schema_id = s.schema_id
  JOIN sys.columns AS c ON c.object_id = t.object_id
  JOIN sys.types AS y ON y.user_type_id = c.user_type_id
 WHERE s.name = N'bridge' AND t.name = N'applied_events'
 ORDER BY c.column_id;
