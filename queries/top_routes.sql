-- The routes with the most flights; the factor that config/common_params.yaml defines is a column of it.
WITH routes AS (
    SELECT f.origin, f.dest, {factor}, f.arr_delay
    FROM {tables.flights_table} AS f
)
SELECT TOP ({top_routes})
    CAST('{country_code}' AS char(2)) AS country_code,
    r.origin,
    o.name                           AS origin_name,
    r.dest,
    COALESCE(d.name, N'(not in the list of airports)') AS dest_name,
    COUNT(*)                         AS flights,
    MAX(r.distance_km)               AS distance_km,
    AVG(CAST(r.arr_delay AS float))  AS mean_arr_delay,
    RANK() OVER (ORDER BY COUNT(*) DESC) AS busiest
FROM routes AS r
INNER JOIN {airports_table} AS o ON o.faa = r.origin
LEFT JOIN {airports_table} AS d ON d.faa = r.dest
GROUP BY r.origin, o.name, r.dest, d.name
ORDER BY flights DESC, r.origin, r.dest
