-- Hourly weather at the three airports; degrees Fahrenheit, miles an hour, inches, millibars, miles.
SELECT
    CAST(w.origin AS char(3))         AS origin,
    CAST(w.year AS smallint)          AS year,
    CAST(w.month AS tinyint)          AS month,
    CAST(w.day AS tinyint)            AS day,
    CAST(w.hour AS tinyint)           AS hour,
    CAST(w.temp AS float)             AS temp,
    CAST(w.dewp AS float)             AS dewp,
    CAST(w.humid AS float)            AS humid,
    CAST(w.wind_dir AS smallint)      AS wind_dir,
    CAST(w.wind_speed AS float)       AS wind_speed,
    CAST(w.wind_gust AS float)        AS wind_gust,
    CAST(w.precip AS float)           AS precip,
    CAST(w.pressure AS float)         AS pressure,
    CAST(w.visib AS float)            AS visib,
    CAST(w.time_hour AS datetime2(0)) AS time_hour
FROM {tables.weather_table} AS w
