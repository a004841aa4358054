-- Strings as bytes, fast: HASHBYTES runs over every row of a table. PostgreSQL has no UTF-16, but LATIN1 to UTF-8 makes two
-- bytes of each byte from 0x80, and bit strings are shifted and masked whole. These casts let one read the other's bytes:
-- bytea is a length and bytes, bit varying a length, the number of bits (int4, little-endian) and bytes.
CREATE CAST (bytea AS bit varying) WITHOUT FUNCTION;
CREATE CAST (bit AS bytea) WITHOUT FUNCTION;
-- timestamp is an int8 of microseconds since 2000-01-01, of which PostgreSQL writes the text fast.
CREATE CAST (int8 AS timestamp) WITHOUT FUNCTION;

-- A pattern of bytes, given in hex, as 2048 bytes of bit string.
CREATE FUNCTION tsql.bit_mask(pattern text) RETURNS bit varying LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT (reverse(int4send(16384)) || decode(repeat(pattern, 4096 / char_length(pattern)), 'hex'))::bit varying $$;
-- Each byte's low seven bits as a UTF-16LE unit. UTF-8 is 1100001a 10bcdefg from 0x80 on, where a to g are those bits.
CREATE FUNCTION tsql.widen(b bytea) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  n int := length(b);
  head bytea := reverse(int4send(16 * n));
  pairs bytea;
BEGIN
  IF n = 0 THEN RETURN b; END IF;
  IF n > 1024 THEN
    RETURN (SELECT string_agg(tsql.widen(substr(b, i, 1024)), ''::bytea ORDER BY i) FROM generate_series(1, n, 1024) i);
  END IF;
  pairs := convert(substr((((reverse(int4send(8 * n)) || b)::bit varying | substring(tsql.bit_mask('80'), 1, 8 * n)))::bytea, 5),
                   'LATIN1', 'UTF8');
  RETURN substr((((head || pairs)::bit varying << 6) & substring(tsql.bit_mask('4000'), 1, 16 * n)
               | ((head || substr(pairs, 2) || '\x00')::bit varying & substring(tsql.bit_mask('3f00'), 1, 16 * n)))::bytea, 5);
END $$;
-- Each byte from 0x80 as 0x8000, each other one as 0.
CREATE FUNCTION tsql.widen_high(b bytea) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  n int := length(b);
BEGIN
  IF n > 1024 THEN
    RETURN (SELECT string_agg(tsql.widen_high(substr(b, i, 1024)), ''::bytea ORDER BY i) FROM generate_series(1, n, 1024) i);
  END IF;
  b := tsql.widen(substr((((reverse(int4send(8 * n)) || b)::bit varying & substring(tsql.bit_mask('80'), 1, 8 * n)) >> 1)::bytea, 5));
  RETURN substr(((reverse(int4send(16 * n)) || b)::bit varying << 1)::bytea, 5);
END $$;
-- UTF-16LE.
CREATE FUNCTION tsql.utf16_bytes(x text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  b bytea;
  n int;
BEGIN
  IF octet_length(x) = char_length(x) THEN
    RETURN tsql.widen(convert_to(x, 'UTF8'));
  END IF;
  IF x !~ U&'[^\0001-\00FF]' THEN
    b := convert_to(x, 'LATIN1');
    n := 16 * length(b);
    RETURN substr(((reverse(int4send(n)) || tsql.widen(b))::bit varying
                 | (reverse(int4send(n)) || tsql.widen_high(b))::bit varying)::bytea, 5);
  END IF;
  RETURN tsql.utf16_units(x);
END $$;
