-- Carrier codes and names.
SELECT
    CAST(a.carrier AS varchar(2)) AS carrier,
    CAST(a.name AS nvarchar(100)) AS name
FROM {tables.airlines_table} AS a
