-- Departure delays by how hard it blew, for each airport and quarter.
WITH hourly AS (
    SELECT
        f.origin,
        DATEPART(quarter, DATEFROMPARTS(f.year, f.month, f.day)) AS quarter,
        CASE
            WHEN w.wind_speed < 10 THEN '1 calm'
            WHEN w.wind_speed < 20 THEN '2 fresh'
            ELSE '3 strong'
        END AS wind,
        f.dep_delay
    FROM {tables.flights_table} AS f
    INNER JOIN {weather_table} AS w ON w.origin = f.origin AND w.time_hour = f.time_hour
    WHERE f.dep_delay IS NOT NULL
      AND w.wind_speed IS NOT NULL
)
SELECT
    h.origin,
    h.quarter,
    h.wind,
    COUNT(*) AS flights,
    CAST(AVG(CAST(h.dep_delay AS float)) AS decimal(7, 2)) AS mean_dep_delay,
    CAST(100.0 * SUM(CASE WHEN h.dep_delay > {on_time_minutes} THEN 1 ELSE 0 END) / COUNT(*) AS decimal(5, 2))
        AS late_percent
FROM hourly AS h
GROUP BY h.origin, h.quarter, h.wind
