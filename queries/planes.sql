-- Planes by tail number; year of manufacture, cruising speed in miles an hour.
SELECT
    CAST(p.tailnum AS varchar(8))       AS tailnum,
    CAST(p.year AS smallint)            AS year,
    CAST(p.type AS varchar(40))         AS type,
    CAST(p.manufacturer AS varchar(60)) AS manufacturer,
    CAST(p.model AS varchar(40))        AS model,
    CAST(p.engines AS tinyint)          AS engines,
    CAST(p.seats AS smallint)           AS seats,
    CAST(p.speed AS smallint)           AS speed,
    CAST(p.engine AS varchar(40))       AS engine
FROM {tables.planes_table} AS p
