-- Punctuality of each carrier by month, with the change against its month before, inside the time window.
WITH monthly AS (
    SELECT
        f.carrier,
        DATEFROMPARTS(f.year, f.month, 1)          AS month_start,
        COUNT(*)                                   AS flights,
        SUM(CASE WHEN f.dep_time IS NULL THEN 1 ELSE 0 END) AS cancelled,
        SUM(CASE WHEN f.arr_delay <= {on_time_minutes} THEN 1 ELSE 0 END) AS on_time,
        AVG(CAST(f.arr_delay AS float))            AS mean_arr_delay
    FROM {tables.flights_table} AS f
    WHERE DATEFROMPARTS(f.year, f.month, f.day) >= CAST({start_date} AS date)
      AND DATEFROMPARTS(f.year, f.month, f.day) <= CAST({end_date} AS date)
    GROUP BY f.carrier, DATEFROMPARTS(f.year, f.month, 1)
)
SELECT
    CAST('{country_code}' AS char(2)) AS country_code,
    m.carrier,
    a.name                           AS carrier_name,
    m.month_start,
    EOMONTH(m.month_start)           AS month_end,
    m.flights,
    m.cancelled,
    CAST(100.0 * m.on_time / m.flights AS decimal(5, 2)) AS on_time_percent,
    m.mean_arr_delay,
    m.flights - LAG(m.flights) OVER (PARTITION BY m.carrier ORDER BY m.month_start) AS flights_change,
    SUM(m.flights) OVER (
        PARTITION BY m.carrier ORDER BY m.month_start ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS flights_so_far
FROM monthly AS m
INNER JOIN {airlines_table} AS a ON a.carrier = m.carrier
