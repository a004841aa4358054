-- Flights that left @min_delay minutes late or later, since the day @since.
SELECT
    DATEFROMPARTS(f.year, f.month, f.day) AS flight_date,
    DATEDIFF(day, @since, DATEFROMPARTS(f.year, f.month, f.day)) AS days_since,
    f.carrier,
    f.flight,
    f.origin,
    f.dest,
    DATEADD(
        minute,
        f.sched_dep_time / 100 * 60 + f.sched_dep_time % 100,
        CAST(DATEFROMPARTS(f.year, f.month, f.day) AS datetime2(0))
    ) AS scheduled_departure,
    f.dep_delay,
    f.dep_delay - f.arr_delay AS made_good,
    ROW_NUMBER() OVER (
        PARTITION BY f.year, f.month, f.day
        ORDER BY f.dep_delay DESC, f.carrier, f.flight, f.sched_dep_time, f.origin
    ) AS rank_of_day
FROM {tables.flights_table} AS f
WHERE DATEFROMPARTS(f.year, f.month, f.day) >= @since
  AND f.dep_delay >= @min_delay
