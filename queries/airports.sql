-- Airports of the United States; lat and lon in degrees, alt in feet, tz in hours from UTC.
SELECT
    CAST(a.faa AS char(3))        AS faa,
    CAST(a.name AS nvarchar(100)) AS name,
    CAST(a.lat AS float)          AS lat,
    CAST(a.lon AS float)          AS lon,
    CAST(a.alt AS int)            AS alt,
    CAST(a.tz AS smallint)        AS tz,
    CAST(a.dst AS char(1))        AS dst,
    CAST(a.tzone AS varchar(40))  AS tzone
FROM {tables.airports_table} AS a
