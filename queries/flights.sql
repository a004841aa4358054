-- Every flight out of New York, one row each.
SELECT
    CAST(f.year AS smallint)           AS year,
    CAST(f.month AS tinyint)           AS month,
    CAST(f.day AS tinyint)             AS day,
    CAST(f.dep_time AS smallint)       AS dep_time,
    CAST(f.sched_dep_time AS smallint) AS sched_dep_time,
    CAST(f.dep_delay AS smallint)      AS dep_delay,
    CAST(f.arr_time AS smallint)       AS arr_time,
    CAST(f.sched_arr_time AS smallint) AS sched_arr_time,
    CAST(f.arr_delay AS smallint)      AS arr_delay,
    CAST(f.carrier AS varchar(2))      AS carrier,
    CAST(f.flight AS int)              AS flight,
    CAST(f.tailnum AS varchar(8))      AS tailnum,
    CAST(f.origin AS char(3))          AS origin,
    CAST(f.dest AS char(3))            AS dest,
    CAST(f.air_time AS smallint)       AS air_time,
    CAST(f.distance AS int)            AS distance,
    CAST(f.hour AS tinyint)            AS hour,
    CAST(f.minute AS tinyint)          AS minute,
    CAST(f.time_hour AS datetime2(0))  AS time_hour
FROM {tables.flights_table} AS f
