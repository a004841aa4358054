-- Peru's own: routes out of one hub only, by the number of carriers that fly them.
SELECT TOP ({top_routes})
    CAST('{country_code}' AS char(2)) AS country_code,
    f.dest,
    d.name                           AS dest_name,
    COUNT(DISTINCT f.carrier)        AS carriers,
    COUNT(*)                         AS flights
FROM {tables.flights_table} AS f
INNER JOIN {airports_table} AS d ON d.faa = f.dest
WHERE f.origin = '{hub}'
GROUP BY f.dest, d.name
ORDER BY carriers DESC, flights DESC, f.dest
