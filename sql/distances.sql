-- Distances: functions, operators, operator classes, and spheres, by type.
--
-- COST of a distance: about ten times a comparison of numbers, so that scans of large tables run in
-- parallel. Each support function names an element type and a metric. A sphere is a condition that
-- an index can answer: `embedding <<->> vdb_sphere(q, r)` is `embedding <-> q < r`.

-- vector

CREATE FUNCTION l2_distance(vector, vector) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vector_l2_distance_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION inner_product(vector, vector) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vector_inner_product_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION cosine_distance(vector, vector) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vector_cosine_distance_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION l1_distance(vector, vector) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vector_l1_distance_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION vector_l2_squared_distance(vector, vector) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vector_l2_squared_distance_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION vector_negative_inner_product(vector, vector) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vector_negative_inner_product_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION vector_spherical_distance(vector, vector) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vector_spherical_distance_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

CREATE OPERATOR <-> (
    LEFTARG = vector, RIGHTARG = vector, FUNCTION = l2_distance, COMMUTATOR = '<->'
);
CREATE OPERATOR <#> (
    LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_negative_inner_product, COMMUTATOR = '<#>'
);
CREATE OPERATOR <=> (
    LEFTARG = vector, RIGHTARG = vector, FUNCTION = cosine_distance, COMMUTATOR = '<=>'
);
CREATE OPERATOR <+> (
    LEFTARG = vector, RIGHTARG = vector, FUNCTION = l1_distance, COMMUTATOR = '<+>'
);

CREATE FUNCTION vdb_vector_l2_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_vector_l2_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_vector_ip_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_vector_ip_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_vector_cosine_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_vector_cosine_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_vector_l1_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_vector_l1_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR CLASS vector_l2_ops FOR TYPE vector USING vdb_hnsw AS
    OPERATOR 1 <-> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_vector_l2_support();
CREATE OPERATOR CLASS vector_ip_ops FOR TYPE vector USING vdb_hnsw AS
    OPERATOR 1 <#> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_vector_ip_support();
CREATE OPERATOR CLASS vector_cosine_ops FOR TYPE vector USING vdb_hnsw AS
    OPERATOR 1 <=> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_vector_cosine_support();
CREATE OPERATOR CLASS vector_l1_ops FOR TYPE vector USING vdb_hnsw AS
    OPERATOR 1 <+> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_vector_l1_support();
CREATE OPERATOR CLASS vector_l2_ops FOR TYPE vector USING vdb_ivf AS
    OPERATOR 1 <-> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_vector_l2_support();
CREATE OPERATOR CLASS vector_ip_ops FOR TYPE vector USING vdb_ivf AS
    OPERATOR 1 <#> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_vector_ip_support();
CREATE OPERATOR CLASS vector_cosine_ops FOR TYPE vector USING vdb_ivf AS
    OPERATOR 1 <=> (vector, vector) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_vector_cosine_support();

CREATE TYPE vdb_sphere_vector AS (centre vector, radius double precision);

CREATE FUNCTION vdb_sphere(centre vector, radius double precision) RETURNS vdb_sphere_vector
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ROW(centre, radius)::vdb_sphere_vector;

CREATE FUNCTION vector_l2_within(vector, vdb_sphere_vector) RETURNS boolean
    AS 'MODULE_PATHNAME', 'vector_l2_within_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 12;
CREATE OPERATOR <<->> (
    LEFTARG = vector, RIGHTARG = vdb_sphere_vector, FUNCTION = vector_l2_within, RESTRICT = pg_catalog.contsel
);
ALTER OPERATOR FAMILY vector_l2_ops USING vdb_hnsw ADD OPERATOR 2 <<->> (vector, vdb_sphere_vector);
ALTER OPERATOR FAMILY vector_l2_ops USING vdb_ivf ADD OPERATOR 2 <<->> (vector, vdb_sphere_vector);

CREATE FUNCTION vector_ip_within(vector, vdb_sphere_vector) RETURNS boolean
    AS 'MODULE_PATHNAME', 'vector_ip_within_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 12;
CREATE OPERATOR <<#>> (
    LEFTARG = vector, RIGHTARG = vdb_sphere_vector, FUNCTION = vector_ip_within, RESTRICT = pg_catalog.contsel
);
ALTER OPERATOR FAMILY vector_ip_ops USING vdb_hnsw ADD OPERATOR 2 <<#>> (vector, vdb_sphere_vector);
ALTER OPERATOR FAMILY vector_ip_ops USING vdb_ivf ADD OPERATOR 2 <<#>> (vector, vdb_sphere_vector);

CREATE FUNCTION vector_cosine_within(vector, vdb_sphere_vector) RETURNS boolean
    AS 'MODULE_PATHNAME', 'vector_cosine_within_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 12;
CREATE OPERATOR <<=>> (
    LEFTARG = vector, RIGHTARG = vdb_sphere_vector, FUNCTION = vector_cosine_within, RESTRICT = pg_catalog.contsel
);
ALTER OPERATOR FAMILY vector_cosine_ops USING vdb_hnsw ADD OPERATOR 2 <<=>> (vector, vdb_sphere_vector);
ALTER OPERATOR FAMILY vector_cosine_ops USING vdb_ivf ADD OPERATOR 2 <<=>> (vector, vdb_sphere_vector);

CREATE FUNCTION vector_l1_within(vector, vdb_sphere_vector) RETURNS boolean
    AS 'MODULE_PATHNAME', 'vector_l1_within_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 12;
CREATE OPERATOR <<+>> (
    LEFTARG = vector, RIGHTARG = vdb_sphere_vector, FUNCTION = vector_l1_within, RESTRICT = pg_catalog.contsel
);
ALTER OPERATOR FAMILY vector_l1_ops USING vdb_hnsw ADD OPERATOR 2 <<+>> (vector, vdb_sphere_vector);

-- halfvec

CREATE FUNCTION l2_distance(halfvec, halfvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'halfvec_l2_distance_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION inner_product(halfvec, halfvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'halfvec_inner_product_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION cosine_distance(halfvec, halfvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'halfvec_cosine_distance_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION l1_distance(halfvec, halfvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'halfvec_l1_distance_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION halfvec_l2_squared_distance(halfvec, halfvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'halfvec_l2_squared_distance_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION halfvec_negative_inner_product(halfvec, halfvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'halfvec_negative_inner_product_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION halfvec_spherical_distance(halfvec, halfvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'halfvec_spherical_distance_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

CREATE OPERATOR <-> (
    LEFTARG = halfvec, RIGHTARG = halfvec, FUNCTION = l2_distance, COMMUTATOR = '<->'
);
CREATE OPERATOR <#> (
    LEFTARG = halfvec, RIGHTARG = halfvec, FUNCTION = halfvec_negative_inner_product, COMMUTATOR = '<#>'
);
CREATE OPERATOR <=> (
    LEFTARG = halfvec, RIGHTARG = halfvec, FUNCTION = cosine_distance, COMMUTATOR = '<=>'
);
CREATE OPERATOR <+> (
    LEFTARG = halfvec, RIGHTARG = halfvec, FUNCTION = l1_distance, COMMUTATOR = '<+>'
);

CREATE FUNCTION vdb_halfvec_l2_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_halfvec_l2_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_halfvec_ip_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_halfvec_ip_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_halfvec_cosine_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_halfvec_cosine_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_halfvec_l1_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_halfvec_l1_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR CLASS halfvec_l2_ops FOR TYPE halfvec USING vdb_hnsw AS
    OPERATOR 1 <-> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_halfvec_l2_support();
CREATE OPERATOR CLASS halfvec_ip_ops FOR TYPE halfvec USING vdb_hnsw AS
    OPERATOR 1 <#> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_halfvec_ip_support();
CREATE OPERATOR CLASS halfvec_cosine_ops FOR TYPE halfvec USING vdb_hnsw AS
    OPERATOR 1 <=> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_halfvec_cosine_support();
CREATE OPERATOR CLASS halfvec_l1_ops FOR TYPE halfvec USING vdb_hnsw AS
    OPERATOR 1 <+> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_halfvec_l1_support();
CREATE OPERATOR CLASS halfvec_l2_ops FOR TYPE halfvec USING vdb_ivf AS
    OPERATOR 1 <-> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_halfvec_l2_support();
CREATE OPERATOR CLASS halfvec_ip_ops FOR TYPE halfvec USING vdb_ivf AS
    OPERATOR 1 <#> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_halfvec_ip_support();
CREATE OPERATOR CLASS halfvec_cosine_ops FOR TYPE halfvec USING vdb_ivf AS
    OPERATOR 1 <=> (halfvec, halfvec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_halfvec_cosine_support();

CREATE TYPE vdb_sphere_halfvec AS (centre halfvec, radius double precision);

CREATE FUNCTION vdb_sphere(centre halfvec, radius double precision) RETURNS vdb_sphere_halfvec
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ROW(centre, radius)::vdb_sphere_halfvec;

CREATE FUNCTION halfvec_l2_within(halfvec, vdb_sphere_halfvec) RETURNS boolean
    AS 'MODULE_PATHNAME', 'halfvec_l2_within_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 12;
CREATE OPERATOR <<->> (
    LEFTARG = halfvec, RIGHTARG = vdb_sphere_halfvec, FUNCTION = halfvec_l2_within, RESTRICT = pg_catalog.contsel
);
ALTER OPERATOR FAMILY halfvec_l2_ops USING vdb_hnsw ADD OPERATOR 2 <<->> (halfvec, vdb_sphere_halfvec);
ALTER OPERATOR FAMILY halfvec_l2_ops USING vdb_ivf ADD OPERATOR 2 <<->> (halfvec, vdb_sphere_halfvec);

CREATE FUNCTION halfvec_ip_within(halfvec, vdb_sphere_halfvec) RETURNS boolean
    AS 'MODULE_PATHNAME', 'halfvec_ip_within_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 12;
CREATE OPERATOR <<#>> (
    LEFTARG = halfvec, RIGHTARG = vdb_sphere_halfvec, FUNCTION = halfvec_ip_within, RESTRICT = pg_catalog.contsel
);
ALTER OPERATOR FAMILY halfvec_ip_ops USING vdb_hnsw ADD OPERATOR 2 <<#>> (halfvec, vdb_sphere_halfvec);
ALTER OPERATOR FAMILY halfvec_ip_ops USING vdb_ivf ADD OPERATOR 2 <<#>> (halfvec, vdb_sphere_halfvec);

CREATE FUNCTION halfvec_cosine_within(halfvec, vdb_sphere_halfvec) RETURNS boolean
    AS 'MODULE_PATHNAME', 'halfvec_cosine_within_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 12;
CREATE OPERATOR <<=>> (
    LEFTARG = halfvec, RIGHTARG = vdb_sphere_halfvec, FUNCTION = halfvec_cosine_within, RESTRICT = pg_catalog.contsel
);
ALTER OPERATOR FAMILY halfvec_cosine_ops USING vdb_hnsw ADD OPERATOR 2 <<=>> (halfvec, vdb_sphere_halfvec);
ALTER OPERATOR FAMILY halfvec_cosine_ops USING vdb_ivf ADD OPERATOR 2 <<=>> (halfvec, vdb_sphere_halfvec);

CREATE FUNCTION halfvec_l1_within(halfvec, vdb_sphere_halfvec) RETURNS boolean
    AS 'MODULE_PATHNAME', 'halfvec_l1_within_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 12;
CREATE OPERATOR <<+>> (
    LEFTARG = halfvec, RIGHTARG = vdb_sphere_halfvec, FUNCTION = halfvec_l1_within, RESTRICT = pg_catalog.contsel
);
ALTER OPERATOR FAMILY halfvec_l1_ops USING vdb_hnsw ADD OPERATOR 2 <<+>> (halfvec, vdb_sphere_halfvec);

-- sparsevec

CREATE FUNCTION l2_distance(sparsevec, sparsevec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'sparsevec_l2_distance_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION inner_product(sparsevec, sparsevec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'sparsevec_inner_product_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION cosine_distance(sparsevec, sparsevec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'sparsevec_cosine_distance_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION l1_distance(sparsevec, sparsevec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'sparsevec_l1_distance_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION sparsevec_l2_squared_distance(sparsevec, sparsevec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'sparsevec_l2_squared_distance_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION sparsevec_negative_inner_product(sparsevec, sparsevec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'sparsevec_negative_inner_product_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

CREATE OPERATOR <-> (
    LEFTARG = sparsevec, RIGHTARG = sparsevec, FUNCTION = l2_distance, COMMUTATOR = '<->'
);
CREATE OPERATOR <#> (
    LEFTARG = sparsevec, RIGHTARG = sparsevec, FUNCTION = sparsevec_negative_inner_product, COMMUTATOR = '<#>'
);
CREATE OPERATOR <=> (
    LEFTARG = sparsevec, RIGHTARG = sparsevec, FUNCTION = cosine_distance, COMMUTATOR = '<=>'
);
CREATE OPERATOR <+> (
    LEFTARG = sparsevec, RIGHTARG = sparsevec, FUNCTION = l1_distance, COMMUTATOR = '<+>'
);

CREATE FUNCTION vdb_sparsevec_l2_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_sparsevec_l2_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_sparsevec_ip_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_sparsevec_ip_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_sparsevec_cosine_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_sparsevec_cosine_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_sparsevec_l1_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_sparsevec_l1_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR CLASS sparsevec_l2_ops FOR TYPE sparsevec USING vdb_hnsw AS
    OPERATOR 1 <-> (sparsevec, sparsevec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_sparsevec_l2_support();
CREATE OPERATOR CLASS sparsevec_ip_ops FOR TYPE sparsevec USING vdb_hnsw AS
    OPERATOR 1 <#> (sparsevec, sparsevec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_sparsevec_ip_support();
CREATE OPERATOR CLASS sparsevec_cosine_ops FOR TYPE sparsevec USING vdb_hnsw AS
    OPERATOR 1 <=> (sparsevec, sparsevec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_sparsevec_cosine_support();
CREATE OPERATOR CLASS sparsevec_l1_ops FOR TYPE sparsevec USING vdb_hnsw AS
    OPERATOR 1 <+> (sparsevec, sparsevec) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_sparsevec_l1_support();

CREATE TYPE vdb_sphere_sparsevec AS (centre sparsevec, radius double precision);

CREATE FUNCTION vdb_sphere(centre sparsevec, radius double precision) RETURNS vdb_sphere_sparsevec
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ROW(centre, radius)::vdb_sphere_sparsevec;

CREATE FUNCTION sparsevec_l2_within(sparsevec, vdb_sphere_sparsevec) RETURNS boolean
    AS 'MODULE_PATHNAME', 'sparsevec_l2_within_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 12;
CREATE OPERATOR <<->> (
    LEFTARG = sparsevec, RIGHTARG = vdb_sphere_sparsevec, FUNCTION = sparsevec_l2_within, RESTRICT = pg_catalog.contsel
);
ALTER OPERATOR FAMILY sparsevec_l2_ops USING vdb_hnsw ADD OPERATOR 2 <<->> (sparsevec, vdb_sphere_sparsevec);

CREATE FUNCTION sparsevec_ip_within(sparsevec, vdb_sphere_sparsevec) RETURNS boolean
    AS 'MODULE_PATHNAME', 'sparsevec_ip_within_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 12;
CREATE OPERATOR <<#>> (
    LEFTARG = sparsevec, RIGHTARG = vdb_sphere_sparsevec, FUNCTION = sparsevec_ip_within, RESTRICT = pg_catalog.contsel
);
ALTER OPERATOR FAMILY sparsevec_ip_ops USING vdb_hnsw ADD OPERATOR 2 <<#>> (sparsevec, vdb_sphere_sparsevec);

CREATE FUNCTION sparsevec_cosine_within(sparsevec, vdb_sphere_sparsevec) RETURNS boolean
    AS 'MODULE_PATHNAME', 'sparsevec_cosine_within_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 12;
CREATE OPERATOR <<=>> (
    LEFTARG = sparsevec, RIGHTARG = vdb_sphere_sparsevec, FUNCTION = sparsevec_cosine_within, RESTRICT = pg_catalog.contsel
);
ALTER OPERATOR FAMILY sparsevec_cosine_ops USING vdb_hnsw ADD OPERATOR 2 <<=>> (sparsevec, vdb_sphere_sparsevec);

CREATE FUNCTION sparsevec_l1_within(sparsevec, vdb_sphere_sparsevec) RETURNS boolean
    AS 'MODULE_PATHNAME', 'sparsevec_l1_within_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 12;
CREATE OPERATOR <<+>> (
    LEFTARG = sparsevec, RIGHTARG = vdb_sphere_sparsevec, FUNCTION = sparsevec_l1_within, RESTRICT = pg_catalog.contsel
);
ALTER OPERATOR FAMILY sparsevec_l1_ops USING vdb_hnsw ADD OPERATOR 2 <<+>> (sparsevec, vdb_sphere_sparsevec);

-- bit

CREATE FUNCTION hamming_distance(bit, bit) RETURNS double precision
    AS 'MODULE_PATHNAME', 'bit_hamming_distance_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
CREATE FUNCTION jaccard_distance(bit, bit) RETURNS double precision
    AS 'MODULE_PATHNAME', 'bit_jaccard_distance_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

CREATE OPERATOR <~> (
    LEFTARG = bit, RIGHTARG = bit, FUNCTION = hamming_distance, COMMUTATOR = '<~>'
);
CREATE OPERATOR <%> (
    LEFTARG = bit, RIGHTARG = bit, FUNCTION = jaccard_distance, COMMUTATOR = '<%>'
);

CREATE FUNCTION vdb_bit_hamming_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_bit_hamming_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vdb_bit_jaccard_support() RETURNS integer
    AS 'MODULE_PATHNAME', 'vdb_bit_jaccard_support_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR CLASS bit_hamming_ops FOR TYPE bit USING vdb_hnsw AS
    OPERATOR 1 <~> (bit, bit) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_bit_hamming_support();
CREATE OPERATOR CLASS bit_jaccard_ops FOR TYPE bit USING vdb_hnsw AS
    OPERATOR 1 <%> (bit, bit) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_bit_jaccard_support();
CREATE OPERATOR CLASS bit_hamming_ops FOR TYPE bit USING vdb_ivf AS
    OPERATOR 1 <~> (bit, bit) FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 vdb_bit_hamming_support();

CREATE TYPE vdb_sphere_bit AS (centre pg_catalog."bit", radius double precision);

CREATE FUNCTION vdb_sphere(centre pg_catalog."bit", radius double precision) RETURNS vdb_sphere_bit
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ROW(centre, radius)::vdb_sphere_bit;

CREATE FUNCTION bit_hamming_within(pg_catalog."bit", vdb_sphere_bit) RETURNS boolean
    AS 'MODULE_PATHNAME', 'bit_hamming_within_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 12;
CREATE OPERATOR <<~>> (
    LEFTARG = pg_catalog."bit", RIGHTARG = vdb_sphere_bit, FUNCTION = bit_hamming_within, RESTRICT = pg_catalog.contsel
);
ALTER OPERATOR FAMILY bit_hamming_ops USING vdb_hnsw ADD OPERATOR 2 <<~>> (pg_catalog."bit", vdb_sphere_bit);
ALTER OPERATOR FAMILY bit_hamming_ops USING vdb_ivf ADD OPERATOR 2 <<~>> (pg_catalog."bit", vdb_sphere_bit);

CREATE FUNCTION bit_jaccard_within(pg_catalog."bit", vdb_sphere_bit) RETURNS boolean
    AS 'MODULE_PATHNAME', 'bit_jaccard_within_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 12;
CREATE OPERATOR <<%>> (
    LEFTARG = pg_catalog."bit", RIGHTARG = vdb_sphere_bit, FUNCTION = bit_jaccard_within, RESTRICT = pg_catalog.contsel
);
ALTER OPERATOR FAMILY bit_jaccard_ops USING vdb_hnsw ADD OPERATOR 2 <<%>> (pg_catalog."bit", vdb_sphere_bit);

-- A centre given as text takes the type of the column.

CREATE TYPE vdb_sphere_text AS (centre pg_catalog.text, radius double precision);

CREATE FUNCTION vdb_sphere(centre pg_catalog.text, radius double precision) RETURNS vdb_sphere_text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ROW(centre, radius)::vdb_sphere_text;

CREATE FUNCTION vdb_sphere_vector(sphere vdb_sphere_text) RETURNS vdb_sphere_vector
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ROW((sphere).centre::vector, (sphere).radius)::vdb_sphere_vector;
CREATE CAST (vdb_sphere_text AS vdb_sphere_vector) WITH FUNCTION vdb_sphere_vector(vdb_sphere_text) AS IMPLICIT;

CREATE FUNCTION vdb_sphere_halfvec(sphere vdb_sphere_text) RETURNS vdb_sphere_halfvec
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ROW((sphere).centre::halfvec, (sphere).radius)::vdb_sphere_halfvec;
CREATE CAST (vdb_sphere_text AS vdb_sphere_halfvec) WITH FUNCTION vdb_sphere_halfvec(vdb_sphere_text) AS IMPLICIT;

CREATE FUNCTION vdb_sphere_sparsevec(sphere vdb_sphere_text) RETURNS vdb_sphere_sparsevec
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ROW((sphere).centre::sparsevec, (sphere).radius)::vdb_sphere_sparsevec;
CREATE CAST (vdb_sphere_text AS vdb_sphere_sparsevec) WITH FUNCTION vdb_sphere_sparsevec(vdb_sphere_text) AS IMPLICIT;

CREATE FUNCTION vdb_sphere_bit(sphere vdb_sphere_text) RETURNS vdb_sphere_bit
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ROW((sphere).centre::pg_catalog."bit", (sphere).radius)::vdb_sphere_bit;
CREATE CAST (vdb_sphere_text AS vdb_sphere_bit) WITH FUNCTION vdb_sphere_bit(vdb_sphere_text) AS IMPLICIT;

CREATE FUNCTION vdb_radius_to(double precision) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vdb_radius_to_wrapper' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION vdb_radius_to(double precision) IS 'the least radius of a sphere that holds what is at this distance';

-- Plans call these to show the distance that they order by: the scan's own, or NULL if the scan has
-- moved on.

CREATE FUNCTION vdb_scanned_distance(pg_catalog.tid, index pg_catalog.oid, query vector) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vdb_scanned_distance_wrapper' LANGUAGE C STABLE PARALLEL SAFE;
CREATE FUNCTION vdb_scanned_distance(pg_catalog.tid, index pg_catalog.oid, query halfvec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vdb_scanned_distance_wrapper' LANGUAGE C STABLE PARALLEL SAFE;
CREATE FUNCTION vdb_scanned_distance(pg_catalog.tid, index pg_catalog.oid, query sparsevec) RETURNS double precision
    AS 'MODULE_PATHNAME', 'vdb_scanned_distance_wrapper' LANGUAGE C STABLE PARALLEL SAFE;

COMMENT ON FUNCTION vdb_scanned_distance(pg_catalog.tid, pg_catalog.oid, vector) IS 'for plans only: the distance of the row that an index scan has just returned';
COMMENT ON FUNCTION vdb_scanned_distance(pg_catalog.tid, pg_catalog.oid, halfvec) IS 'for plans only: the distance of the row that an index scan has just returned';
COMMENT ON FUNCTION vdb_scanned_distance(pg_catalog.tid, pg_catalog.oid, sparsevec) IS 'for plans only: the distance of the row that an index scan has just returned';
