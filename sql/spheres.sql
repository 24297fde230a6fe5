-- Spheres: `embedding <<->> vdb_sphere(q, r)` is `embedding <-> q < r` as a condition that an index can answer.

DO $$
DECLARE
    type text;
    op record;
BEGIN
    FOREACH type IN ARRAY ARRAY['vector', 'halfvec', 'sparsevec', 'bit'] LOOP
        EXECUTE format('CREATE TYPE vdb_sphere_%1$s AS (centre %1$s, radius double precision)', type);
        EXECUTE format('CREATE FUNCTION vdb_sphere(%1$s, double precision) RETURNS vdb_sphere_%1$s
            LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $f$ SELECT ROW($1, $2)::vdb_sphere_%1$s $f$', type);
        FOR op IN
            SELECT * FROM (VALUES
                ('l2', '->'), ('ip', '#>'), ('cosine', '=>'), ('l1', '+>'), ('hamming', '~>'), ('jaccard', '%>')
            ) AS v (metric, name)
            WHERE (metric IN ('hamming', 'jaccard')) = (type = 'bit')
        LOOP
            EXECUTE format($f$CREATE FUNCTION %1$s_%2$s_within(%1$s, vdb_sphere_%1$s) RETURNS boolean
                AS 'MODULE_PATHNAME', '%1$s_%2$s_within_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 12$f$,
                type, op.metric);
            EXECUTE format('CREATE OPERATOR <<%3$s> (
                LEFTARG = %1$s, RIGHTARG = vdb_sphere_%1$s, FUNCTION = %1$s_%2$s_within, RESTRICT = contsel)',
                type, op.metric, op.name);
            EXECUTE format('ALTER OPERATOR FAMILY %1$s_%2$s_ops USING vdb_hnsw ADD OPERATOR 2 <<%3$s> (%1$s, vdb_sphere_%1$s)',
                type, op.metric, op.name);
            IF type IN ('vector', 'halfvec') AND op.metric <> 'l1' OR op.metric = 'hamming' THEN
                EXECUTE format('ALTER OPERATOR FAMILY %1$s_%2$s_ops USING vdb_ivf ADD OPERATOR 2 <<%3$s> (%1$s, vdb_sphere_%1$s)',
                    type, op.metric, op.name);
            END IF;
        END LOOP;
    END LOOP;
END
$$;

CREATE FUNCTION vdb_radius_to(double precision) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vdb_radius_to_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION vdb_radius_to(double precision) IS 'the least radius of a sphere that holds what is at this distance';
