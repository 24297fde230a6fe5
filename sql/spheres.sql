-- Spheres: `embedding <<->> vdb_sphere(q, r)` means `embedding <-> q < r`, in a form that an index
-- can answer.

-- vector

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
