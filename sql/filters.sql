-- Filter columns: operator classes that both access methods take beside a vector's.
--
-- Strategies: 1 to 5 are <, <=, =, >=, >; 6 to 8 are &&, @>, <@. Each support function names what keys are made of.

DO $$
DECLARE
    am text;
    class record;
    a text;
    b text;
    operator record;
BEGIN
    FOR class IN SELECT unnest(ARRAY['int2', 'int4', 'int8', 'float4', 'float8', 'numeric', 'bool', 'date', 'timestamp',
                                     'uuid', 'text', 'enum', 'array']) AS kind
    LOOP
        EXECUTE format($f$CREATE FUNCTION vdb_%1$s_filter() RETURNS integer
            AS 'MODULE_PATHNAME', 'vdb_%1$s_filter_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE$f$, class.kind);
    END LOOP;

    FOREACH am IN ARRAY ARRAY['vdb_hnsw', 'vdb_ivf'] LOOP
        FOR class IN
            SELECT * FROM (VALUES
                ('integer', 'int2', 'int2'), ('integer', 'int4', 'int4'), ('integer', 'int8', 'int8'),
                ('float', 'float4', 'float4'), ('float', 'float8', 'float8'), ('numeric', 'numeric', 'numeric'),
                ('bool', 'bool', 'bool'), ('date', 'date', 'date'), ('timestamp', 'timestamp', 'timestamp'),
                ('timestamptz', 'timestamptz', 'timestamp'), ('uuid', 'uuid', 'uuid'), ('text', 'text', 'text')
            ) AS v (family, type, kind)
        LOOP
            IF class.type IN ('int2', 'float4') OR class.family NOT IN ('integer', 'float') THEN
                EXECUTE format('CREATE OPERATOR FAMILY vdb_%s_filters USING %I', class.family, am);
            END IF;
            EXECUTE format('CREATE OPERATOR CLASS vdb_%1$s_filter DEFAULT FOR TYPE %1$s USING %2$I
                FAMILY vdb_%3$s_filters AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
                FUNCTION 1 vdb_%4$s_filter()', class.type, am, class.family, class.kind);
        END LOOP;

        -- Numbers of one kind and several sizes are compared with one another.
        FOR class IN SELECT 'integer' AS family, ARRAY['int2', 'int4', 'int8'] AS types
            UNION ALL SELECT 'float', ARRAY['float4', 'float8']
        LOOP
            FOREACH a IN ARRAY class.types LOOP
                FOREACH b IN ARRAY class.types LOOP
                    CONTINUE WHEN a = b;
                    FOR operator IN SELECT * FROM unnest(ARRAY['<', '<=', '=', '>=', '>']) WITH ORDINALITY v (name, n)
                    LOOP
                        EXECUTE format('ALTER OPERATOR FAMILY vdb_%s_filters USING %I ADD OPERATOR %s %s (%s, %s)',
                            class.family, am, operator.n, operator.name, a, b);
                    END LOOP;
                END LOOP;
            END LOOP;
        END LOOP;

        EXECUTE format('CREATE OPERATOR CLASS vdb_enum_filter DEFAULT FOR TYPE anyenum USING %I AS
            OPERATOR 3 =, FUNCTION 1 vdb_enum_filter()', am);
        EXECUTE format('CREATE OPERATOR CLASS vdb_array_filter DEFAULT FOR TYPE anyarray USING %I AS
            OPERATOR 3 =, OPERATOR 6 &&, OPERATOR 7 @>, OPERATOR 8 <@, FUNCTION 1 vdb_array_filter()', am);
    END LOOP;
END
$$;
