-- sql_variant values that carry their type (variant_store.py). Money, integers and bit are in num; datetime counts 1/300 s
-- and smalldatetime minutes in at, the other dates and times 100 ns since 0001-01-01 (time since midnight).
CREATE TYPE tsql.variant AS (base text, size int4, prec int4, scale int4, coll text,
                             num numeric, txt text, raw bytea, dbl float8, at int8, off int2);
-- time, datetime2 and datetimeoffset with all digits of their scale (style 121).
CREATE FUNCTION tsql.variant_moment(v tsql.variant) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  local int8 := v.at + coalesce(v.off, 0)::int8 * 600000000;
  written text := CASE WHEN v.scale = 0 THEN tsql.iso_seconds(local / 10000000) ELSE tsql.iso_ticks(local, v.scale) END;
BEGIN
  RETURN CASE v.base WHEN 'time' THEN substr(written, 12)
                     WHEN 'datetimeoffset' THEN written || ' ' || tsql.offset_text(v.off)
                     ELSE written END;
END $$;
-- What stands for a value in =, GROUP BY and joins ("sql_variant": comparing sql_variant values). Families never meet;
-- texts of two collations never do.
CREATE FUNCTION tsql.variant_key(v tsql.variant) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  text_key text := rtrim(v.txt, ' ');
BEGIN
  IF v.base IS NULL THEN RETURN NULL; END IF;
  IF v.coll IS NOT NULL THEN
    IF v.coll LIKE '%\_AI%' THEN text_key := tsql.unaccent(text_key); END IF;
    IF v.coll LIKE '%\_CI\_%' THEN text_key := lower(text_key); END IF;
    RETURN 's' || v.coll || ':' || text_key;
  END IF;
  RETURN CASE
    WHEN v.base IN ('float', 'real') THEN 'f' || CASE WHEN v.dbl = 0 THEN '0' ELSE v.dbl::text END
    WHEN v.num IS NOT NULL THEN 'n' || trim_scale(v.num)::text
    WHEN v.raw IS NOT NULL THEN 'b' || encode(rtrim(v.raw, '\x00'::bytea), 'hex')
    WHEN v.base = 'uniqueidentifier' THEN 'g' || v.txt
    ELSE 'd' || CASE v.base WHEN 'datetime' THEN tsql.datetime_ticks(v.at) WHEN 'smalldatetime' THEN tsql.small_ticks(v.at)
                            WHEN 'time' THEN 599266080000000000 + v.at ELSE v.at END END;
END $$;
-- DATALENGTH.
CREATE FUNCTION tsql.variant_bytes(v tsql.variant) RETURNS int4 LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF v.raw IS NOT NULL THEN RETURN length(v.raw); END IF;
  IF v.base IN ('nchar', 'nvarchar') THEN RETURN 2 * tsql.units(v.txt); END IF;
  IF v.base IN ('char', 'varchar') AND v.coll ~* '(_UTF8$|^Japanese|^Chinese)' THEN
    PERFORM tsql.refuse('DATALENGTH of a sql_variant of ' || v.coll);
  END IF;
  IF v.base IN ('char', 'varchar') THEN RETURN char_length(v.txt); END IF;
  IF v.base IN ('decimal', 'numeric') THEN PERFORM tsql.refuse('DATALENGTH of a sql_variant of ' || v.base); END IF;
  RETURN v.size;
END $$;
