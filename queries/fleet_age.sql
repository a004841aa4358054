-- How old the planes of each carrier are, at the end of the last year that they flew in.
WITH flown AS (
    SELECT f.carrier, f.tailnum, MAX(f.year) AS last_year, COUNT(*) AS flights
    FROM {tables.flights_table} AS f
    WHERE f.tailnum IS NOT NULL
    GROUP BY f.carrier, f.tailnum
),
aged AS (
    SELECT
        n.carrier,
        n.flights,
        DATEDIFF(year, DATEFROMPARTS(p.year, 1, 1), DATEFROMPARTS(n.last_year, 12, 31)) AS age_years,
        p.seats
    FROM flown AS n
    INNER JOIN {planes_table} AS p ON p.tailnum = n.tailnum
)
SELECT
    a.name AS carrier_name,
    CASE
        WHEN g.age_years IS NULL THEN 'unknown'
        WHEN g.age_years < 5 THEN 'under 5 years'
        WHEN g.age_years < 15 THEN '5 to 14 years'
        ELSE '15 years or more'
    END AS age_group,
    COUNT(*) AS planes,
    SUM(g.flights) AS flights,
    AVG(CAST(g.seats AS float)) AS mean_seats
FROM aged AS g
INNER JOIN {airlines_table} AS a ON a.carrier = g.carrier
GROUP BY
    a.name,
    CASE
        WHEN g.age_years IS NULL THEN 'unknown'
        WHEN g.age_years < 5 THEN 'under 5 years'
        WHEN g.age_years < 15 THEN '5 to 14 years'
        ELSE '15 years or more'
    END
