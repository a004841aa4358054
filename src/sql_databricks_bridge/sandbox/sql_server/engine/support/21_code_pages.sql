-- Text in other code pages than 1252 (20_text.sql has that one). PostgreSQL's conversions are Windows' but for these:
-- 932 takes NEC's row 13 for the characters that IBM has too, and has not eight characters that PostgreSQL writes as
-- others that are like them (tsql.not_in_932); its user-defined characters are refused.
CREATE FUNCTION tsql.not_in_932(x text) RETURNS bool LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT x ~ U&'[\00A2\00A3\00A5\00AC\2016\203E\2212\301C]' $$;
CREATE FUNCTION tsql.page_encoding(page int) RETURNS name LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE page WHEN 932 THEN 'SJIS' WHEN 936 THEN 'GBK' WHEN 65001 THEN 'UTF8' ELSE 'WIN' || page END::name $$;
CREATE FUNCTION tsql.page_bytes(x text, page int) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN page = 932 AND x ~ '[№℡㈱Ⅰ-Ⅹ]' THEN (
    SELECT string_agg(CASE WHEN strpos('ⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩ', c) > 0 THEN set_byte('\x8754', 1, 83 + strpos('ⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩ', c))
                           WHEN c = '№' THEN '\x8782' WHEN c = '℡' THEN '\x8784' WHEN c = '㈱' THEN '\x878a'
                           ELSE convert_to(c, 'SJIS') END, ''::bytea ORDER BY i)
    FROM regexp_split_to_table(x, '') WITH ORDINALITY AS s(c, i))
  ELSE convert_to(x, tsql.page_encoding(page)) END $$;
-- The text of bytes that stand for text.
CREATE FUNCTION tsql.bytes_page(b bytea, page int) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL RESTRICTED AS $$
BEGIN
  IF position('\x00'::bytea IN b) > 0 THEN
    PERFORM tsql.refuse('NUL characters in strings');
  END IF;
  RETURN convert_from(b, tsql.page_encoding(page));
EXCEPTION WHEN untranslatable_character OR character_not_in_repertoire THEN
  PERFORM tsql.refuse('bytes that are no text of code page ' || page);
END $$;
CREATE FUNCTION tsql.page_length(x text, page int) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN page = 65001 OR octet_length(x) = char_length(x) THEN octet_length(x)
              ELSE octet_length(convert_to(x, tsql.page_encoding(page))) END $$;
-- A character that a code page lacks, by its number: Windows has no letter like it, so that '?' is what it becomes.
CREATE FUNCTION tsql.has_no_likeness(u int) RETURNS bool LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT u BETWEEN 1040 AND 1103 OR u IN (1025, 1105) OR u BETWEEN 1488 AND 1514 OR u BETWEEN 1569 AND 1610
      OR u BETWEEN 3585 AND 3642 OR u BETWEEN 12353 AND 12438 OR u BETWEEN 12449 AND 12538 OR u BETWEEN 13312 AND 40959
      OR u BETWEEN 44032 AND 55203 OR u > 65535 $$;
CREATE FUNCTION tsql.page_character(c text, page int) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL RESTRICTED AS $$
BEGIN
  IF page <> 932 OR NOT tsql.not_in_932(c) THEN
    PERFORM convert_to(c, tsql.page_encoding(page));
    RETURN c;
  END IF;
  RAISE untranslatable_character;
EXCEPTION WHEN untranslatable_character OR character_not_in_repertoire THEN
  IF NOT tsql.has_no_likeness(ascii(c)) THEN
    PERFORM tsql.refuse('converting U+' || lpad(upper(to_hex(ascii(c))), 4, '0') || ' to cp' || page || ' (a best-fit character)');
  END IF;
  RETURN CASE WHEN ascii(c) > 65535 THEN '??' ELSE '?' END;
END $$;
-- nvarchar, or varchar of another page, to varchar: what the page lacks becomes '?', and what may become a letter that is
-- like it is refused.
CREATE FUNCTION tsql.to_page(x text, page int) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL RESTRICTED AS $$
BEGIN
  IF page = 65001 OR octet_length(x) = char_length(x) THEN
    RETURN x;
  END IF;
  IF page <> 932 OR NOT tsql.not_in_932(x) THEN
    PERFORM convert_to(x, tsql.page_encoding(page));
    RETURN x;
  END IF;
  RAISE untranslatable_character;
EXCEPTION WHEN untranslatable_character OR character_not_in_repertoire THEN
  RETURN (SELECT string_agg(tsql.page_character(c, page), '' ORDER BY i)
          FROM regexp_split_to_table(x, '') WITH ORDINALITY AS s(c, i));
END $$;
-- The longest beginning of whole characters that n bytes hold.
CREATE FUNCTION tsql.left_page(x text, n int, page int) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  taken int := 0;
  count int := 0;
  c text;
BEGIN
  IF octet_length(x) <= n OR tsql.page_length(x, page) <= n THEN RETURN x; END IF;
  FOREACH c IN ARRAY regexp_split_to_array(left(x, n), '') LOOP
    taken := taken + tsql.page_length(c, page);
    EXIT WHEN taken > n;
    count := count + 1;
  END LOOP;
  RETURN left(x, count);
END $$;
CREATE FUNCTION tsql.pad_page(x text, n int, page int) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT x || repeat(' ', n - tsql.page_length(x, page)) $$;
CREATE FUNCTION tsql.fit_page_column(x text, n int, place text, page int) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  IF octet_length(x) <= n OR tsql.page_length(x, page) <= n THEN RETURN x; END IF;
  IF tsql.page_length(rtrim(x, ' '), page) > n THEN
    PERFORM tsql.fail(2628, 'String or binary data would be truncated in ' || place || '. Truncated value: '''
      || tsql.left_page(x, n, page) || '''.');
  END IF;
  RETURN tsql.pad_page(rtrim(x, ' '), n, page);
END $$;
-- What a collation may take for one, and PostgreSQL does not: hiragana and katakana, full and half width.
CREATE FUNCTION tsql.plain_forms(x text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF x ~ U&'[\3040-\30FF\31F0-\31FF\FF00-\FFEF]' THEN
    PERFORM tsql.refuse('comparing kana or full-width letters under a collation that may take them for one with others');
  END IF;
  RETURN x;
END $$;
CREATE FUNCTION tsql.ascii_only(x text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF octet_length(x) <> char_length(x) THEN
    PERFORM tsql.refuse('the order of characters beyond ASCII under an East Asian collation');
  END IF;
  RETURN x;
END $$;
-- Russian letters have their alphabet's order but for one; other Cyrillic letters are refused.
CREATE FUNCTION tsql.cyrillic_order(x text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF x ~ U&'[\0400\0402-\040F\0450\0452-\052F]' THEN
    PERFORM tsql.refuse('the order of Cyrillic letters that are not Russian');
  END IF;
  RETURN translate(x, 'ёЁ', 'еЕ');
END $$;
