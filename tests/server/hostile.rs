//! No role gains a right by the installation of the extension, or by what a superuser calls later.
//!
//! Mallory owns a database. Her schemas hold namesakes of the functions, operators, types and
//! relations that the extension's scripts and sources mention. A name without a schema may find
//! hers first. Any code of hers that runs as a superuser makes her one. It also leaves a trace that
//! an error does not undo.

use crate::support::server::Server;
use postgres::{Client, NoTls, SimpleQueryMessage};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Hostile schemas and the argument types of their functions; NULL for the signatures of the
/// originals. One kind in a schema, because a call that fits several is ambiguous.
const SCHEMAS: &[(&str, &str)] = &[
    ("evil_text", "ARRAY['text']"),
    ("evil_element", "ARRAY['anyelement']"),
    ("evil_compatible", "ARRAY['anycompatible']"),
    ("evil_pairs", "ARRAY['text', 'anyelement']"),
    ("evil_own", "NULL"),
];

/// Operators that SQL uses implicitly: IN, BETWEEN, CASE, LIKE.
const IMPLIED: &[&str] = &["=", "<>", "<", "<=", ">", ">=", "~~", "~~*"];

/// Mallory's tools: `gain` takes the right, `arm` fills a hostile schema. Each sets its own search
/// path; otherwise mallory would attack herself.
const EVIL: &str = r"
CREATE SCHEMA evil;
CREATE SCHEMA ext;
CREATE TABLE evil.names (name text);
CREATE SEQUENCE evil.runs;
CREATE FUNCTION evil.gain() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        PERFORM nextval('evil.runs');
        ALTER ROLE mallory SUPERUSER;
    END IF;
END $$;
CREATE FUNCTION evil.accept() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN PERFORM evil.gain(); RETURN true; END $$;
-- plpgsql does not take every type, and not every name is free.
CREATE FUNCTION evil.attempt(VARIADIC statements text[]) RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog AS $$
DECLARE
    statement text;
BEGIN
    FOREACH statement IN ARRAY statements LOOP
        EXECUTE statement;
    END LOOP;
EXCEPTION WHEN OTHERS THEN NULL;
END $$;
CREATE FUNCTION evil.body(result text) RETURNS text LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT format('RETURNS %s LANGUAGE plpgsql AS ''BEGIN PERFORM evil.gain(); RETURN %s; END''',
        result, CASE WHEN result ~ '^(SETOF|void)' THEN '' ELSE 'NULL' END) $$;
CREATE FUNCTION evil.functions(parts text[])
    RETURNS TABLE (name text, args text, result text, is_aggregate boolean)
    LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT DISTINCT ON (p.proname, s.args) p.proname, s.args,
        CASE WHEN p.proretset THEN 'SETOF ' ELSE '' END
            || CASE WHEN t.typtype = 'p' AND parts IS NOT NULL THEN 'text'
                ELSE format_type(t.oid, NULL) END,
        p.prokind = 'a'
    FROM evil.names n
    JOIN pg_proc p ON p.proname = n.name
    JOIN pg_type t ON t.oid = p.prorettype
    CROSS JOIN LATERAL (
        SELECT string_agg(format_type(a.type, NULL), ', ' ORDER BY a.i)
        FROM unnest(p.proargtypes) WITH ORDINALITY a (type, i)
        WHERE parts IS NULL
        UNION ALL
        SELECT (SELECT string_agg(parts[1 + i % cardinality(parts)], ', ' ORDER BY i)
            FROM generate_series(0, arity - 1) i)
        FROM generate_series(0, 8) arity
        WHERE parts IS NOT NULL
    ) s (args)
    WHERE p.pronamespace IN ('pg_catalog'::regnamespace, 'ext'::regnamespace)
    ORDER BY p.proname, s.args, t.typtype = 'p', t.typname $$;
CREATE FUNCTION evil.operators(parts text[])
    RETURNS TABLE (name text, l text, r text, result text)
    LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT DISTINCT ON (1, 2, 3) o.oprname, coalesce(parts[1], format_type(o.oprleft, NULL)),
        coalesce(parts[1 + 1 % cardinality(parts)], format_type(o.oprright, NULL)),
        format_type(o.oprresult, NULL)
    FROM evil.names n
    JOIN pg_operator o ON o.oprname = n.name
    WHERE o.oprleft <> 0 AND o.oprnamespace IN ('pg_catalog'::regnamespace, 'ext'::regnamespace)
    ORDER BY 1, 2, 3, 4 $$;
CREATE FUNCTION evil.arm(hostile text, parts text[]) RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog AS $$
DECLARE
    item record;
BEGIN
    PERFORM evil.attempt(format('CREATE SCHEMA %I', hostile));
    FOR item IN SELECT * FROM evil.functions(parts) WHERE NOT is_aggregate LOOP
        PERFORM evil.attempt(format('CREATE FUNCTION %I.%I(%s) %s',
            hostile, item.name, item.args, evil.body(item.result)));
    END LOOP;
    FOR item IN
        SELECT *, 'step of ' || name AS step FROM evil.functions(parts) WHERE is_aggregate
    LOOP
        PERFORM evil.attempt(
            format('CREATE FUNCTION %I.%I(%s) %s',
                hostile, item.step, concat_ws(', ', 'text', item.args), evil.body('text')),
            format('CREATE AGGREGATE %1$I.%2$I(%3$s) (SFUNC = %1$I.%4$I, STYPE = text)',
                hostile, item.name, coalesce(item.args, '*'), item.step));
    END LOOP;
    FOR item IN SELECT *, 'operator ' || name AS code FROM evil.operators(parts) LOOP
        PERFORM evil.attempt(
            format('CREATE FUNCTION %I.%I(%s, %s) %s',
                hostile, item.code, item.l, item.r, evil.body(item.result)),
            format('CREATE OPERATOR %1$I.%2$s (
                    FUNCTION = %1$I.%3$I, LEFTARG = %4$s, RIGHTARG = %5$s)',
                hostile, item.name, item.code, item.l, item.r));
    END LOOP;
    FOR item IN
        SELECT t.typname AS name, t.oid::regtype AS base
        FROM evil.names n JOIN pg_type t ON t.typname = n.name
        WHERE t.typtype = 'b'
            AND t.typnamespace IN ('pg_catalog'::regnamespace, 'ext'::regnamespace)
    LOOP
        PERFORM evil.attempt(format('CREATE DOMAIN %I.%I AS %s CHECK (evil.accept())',
            hostile, item.name, item.base));
    END LOOP;
    FOR item IN
        SELECT c.relname AS name, c.oid::regclass AS base
        FROM evil.names n JOIN pg_class c ON c.relname = n.name
        WHERE c.relkind IN ('r', 'v')
            AND c.relnamespace IN ('pg_catalog'::regnamespace, 'ext'::regnamespace)
    LOOP
        PERFORM evil.attempt(format('CREATE VIEW %I.%I AS SELECT * FROM %s WHERE evil.accept()',
            hostile, item.name, item.base));
    END LOOP;
END $$;";

/// Mallory's functions for the columns and the predicate of an index.
const INDEXED: &str = r"
CREATE FUNCTION evil.vector(ext.vector) RETURNS ext.vector LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM evil.gain(); RETURN $1; END $$;
CREATE FUNCTION evil.number(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM evil.gain(); RETURN $1; END $$;
CREATE FUNCTION evil.is_indexed(integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM evil.gain(); RETURN true; END $$";

/// Mallory's table with an index.
struct Table {
    name: &'static str,
    vector: &'static str,
    /// The order of a superuser's query; it never names a function of mallory's.
    key: &'static str,
    index: &'static str,
}

const TABLES: &[Table] = &[
    Table {
        name: "graph",
        vector: "ext.vector(3)",
        key: "v",
        index: "vdb_hnsw (v ext.vector_l2_ops, id) WITH (flush_rows = 100)",
    },
    Table {
        name: "lists",
        vector: "ext.vector(3)",
        key: "v",
        index: "vdb_ivf (v ext.vector_l2_ops, id) WITH (flush_rows = 100)",
    },
    Table {
        name: "computed",
        vector: "ext.vector(3)",
        key: "v",
        index: "vdb_hnsw ((evil.vector(v)::ext.vector(3)) ext.vector_l2_ops)
            WITH (flush_rows = 100) WHERE evil.is_indexed(id)",
    },
    Table {
        name: "graph_of_heap",
        vector: "ext.vector",
        key: "v::ext.vector(3)",
        index: "vdb_hnsw ((v::ext.vector(3)) ext.vector_l2_ops, (evil.number(id)))
            WITH (rerank = 'heap', flush_rows = 100)",
    },
    Table {
        name: "lists_of_heap",
        vector: "ext.vector",
        key: "v::ext.vector(3)",
        index: "vdb_ivf ((v::ext.vector(3)) ext.vector_l2_ops, (evil.number(id)))
            WITH (rerank = 'heap', flush_rows = 100)",
    },
];

/// Calls of the extension's functions with each number of arguments that they take, as far as the
/// types are these, and of its views; INDEX stands for an index.
const CALLS: &str = r"
WITH members AS (
    SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'vdb'
)
SELECT format('SELECT * FROM ext.%I(%s)', p.proname, (
    SELECT string_agg(CASE a.type::regtype::text
        WHEN 'regclass' THEN '''INDEX''::pg_catalog.regclass'
        WHEN 'ext.vector' THEN '''[1,2,3]''::ext.vector'
        WHEN 'integer' THEN '3'
        WHEN 'boolean' THEN 'true'
        ELSE CASE p.proargnames[a.i]
            WHEN 'filter' THEN '''id OPERATOR(pg_catalog.>) 0''::pg_catalog.text'
            ELSE '''[1,2,3]''::pg_catalog.text' END
        END, ', ' ORDER BY a.i)
    FROM unnest(p.proargtypes) WITH ORDINALITY a (type, i) WHERE a.i <= given))
FROM members
JOIN pg_proc p ON members.classid = 'pg_proc'::regclass AND members.objid = p.oid
CROSS JOIN generate_series(p.pronargs::int - p.pronargdefaults, p.pronargs::int) given
WHERE p.prokind = 'f' AND p.proargtypes::oid[]
    <@ '{regclass,text,integer,boolean,ext.vector}'::regtype[]::oid[]
UNION ALL
SELECT format('SELECT * FROM ext.%I', c.relname)
FROM members
JOIN pg_class c ON members.classid = 'pg_class'::regclass AND members.objid = c.oid
WHERE c.relkind = 'v'
ORDER BY 1";

/// The first column of an answer, by the simple protocol. With the extended one the client looks
/// types up under the search path of the session.
fn texts(client: &mut Client, query: &str) -> Result<Vec<String>, postgres::Error> {
    let messages = client.simple_query(query)?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("").to_owned()),
        _ => None,
    });
    Ok(rows.collect())
}

/// As [`texts`], for a query that must succeed.
fn answer(client: &mut Client, query: &str) -> Vec<String> {
    texts(client, query).unwrap_or_else(|error| panic!("{query}: {error:?}"))
}

fn run(client: &mut Client, statements: &str) {
    client.batch_execute(statements).unwrap_or_else(|error| panic!("{statements}: {error:?}"));
}

fn is_superuser(client: &mut Client, role: &str) -> bool {
    let query = format!("SELECT rolname FROM pg_roles WHERE rolname = '{role}' AND rolsuper");
    !answer(client, &query).is_empty()
}

/// Adds the text of every file below `folder` whose name is accepted.
fn read_all(folder: &Path, is_wanted: fn(&str) -> bool, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_all(&path, is_wanted, text);
        } else if is_wanted(&path.file_name().unwrap_or_default().to_string_lossy()) {
            text.push_str(&fs::read_to_string(&path).expect("a text"));
        }
    }
}

/// Every word and operator of the installed scripts and of the sources, which also contain
/// statements. The server drops words that are not names of objects.
fn mentioned(client: &mut Client) -> BTreeSet<String> {
    let shared = answer(client, "SELECT setting FROM pg_config WHERE name = 'SHAREDIR'").remove(0);
    let mut text = String::new();
    let is_script = |name: &str| name.starts_with("vdb--") && name.ends_with(".sql");
    read_all(&Path::new(&shared).join("extension"), is_script, &mut text);
    assert!(text.contains("CREATE FUNCTION"), "the script is installed in {shared}");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    read_all(&sources, |name| name.ends_with(".rs"), &mut text);
    let text = text.to_lowercase();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let operators = text.split(|c: char| !"+-*/<>=~!@#%^&|`?".contains(c));
    let names = words.chain(operators).chain(IMPLIED.iter().copied());
    names.filter(|name| !name.is_empty()).map(String::from).collect()
}

/// Mallory's database with three sessions.
struct Stage {
    /// A superuser who looks at the roles, and whose search path is harmless.
    judge: Client,
    /// A superuser whose search path is hostile.
    victim: Client,
    mallory: Client,
    failures: Vec<String>,
    _server: Server,
}

impl Stage {
    fn new() -> Self {
        // Autovacuum would run at any time, so that the test would blame the wrong step.
        let server = Server::start(&["autovacuum = off"]);
        let mut owner = server.connect();
        run(&mut owner, "CREATE ROLE mallory LOGIN");
        run(&mut owner, "CREATE DATABASE mdb OWNER mallory");
        let connect = |user: &str| {
            let session = format!("user={user} dbname=mdb");
            let url = server.url().replace("user=postgres dbname=postgres", &session);
            Client::connect(&url, NoTls).expect("a session in mallory's database")
        };
        let (mut judge, victim) = (connect("postgres"), connect("postgres"));
        let mut mallory = connect("mallory");
        run(&mut mallory, EVIL);
        let names = mentioned(&mut judge);
        let values: Vec<String> = names.iter().map(|name| format!("('{name}')")).collect();
        run(&mut mallory, &format!("INSERT INTO evil.names VALUES {}", values.join(", ")));
        // Mallory's own session never finds her namesakes.
        run(&mut mallory, "SET search_path = pg_catalog");
        Self { judge, victim, mallory, failures: Vec::new(), _server: server }
    }

    /// A database in which the extension is installed first, with mallory's tables.
    fn with_tables() -> Self {
        let mut stage = Self::new();
        run(&mut stage.mallory, "CREATE EXTENSION vdb SCHEMA ext");
        stage.arm();
        run(&mut stage.mallory, INDEXED);
        for Table { name, vector, index, .. } in TABLES {
            let table = format!("CREATE TABLE evil.{name} (id integer, v {vector})");
            run(&mut stage.mallory, &table);
            stage.write_rows(name);
            stage.write_rows(name);
            let index = format!("CREATE INDEX {name}_v ON evil.{name} USING {index}");
            run(&mut stage.mallory, &index);
        }
        stage.check("tables of mallory's");
        stage
    }

    /// Fills the hostile schemas with namesakes of the objects in `pg_catalog` and `ext`.
    fn arm(&mut self) {
        for (schema, arguments) in SCHEMAS {
            run(&mut self.mallory, &format!("SELECT evil.arm('{schema}', {arguments})"));
        }
        // A broken trap would never note anything.
        run(&mut self.victim, "SELECT 'a'::text OPERATOR(evil_text.=) 'b'::text");
        assert!(self.has_gained(), "mallory's operator notes that a superuser runs it");
    }

    /// Whether mallory's code has run as a superuser since the last call; takes the right back.
    fn has_gained(&mut self) -> bool {
        let has_run = answer(&mut self.judge, "SELECT is_called FROM evil.runs") == ["t"];
        let has_gained = has_run || is_superuser(&mut self.judge, "mallory");
        if has_gained {
            let undo = "ALTER ROLE mallory NOSUPERUSER; SELECT setval('evil.runs', 1, false)";
            run(&mut self.judge, undo);
        }
        has_gained
    }

    fn check(&mut self, step: &str) {
        if self.has_gained() {
            self.failures.push(format!("mallory gains the rights of a superuser by: {step}"));
        }
    }

    fn verdict(self) {
        assert!(self.failures.is_empty(), "{}", self.failures.join("\n"));
    }

    /// The victim runs a statement with this search path. It may fail.
    fn lure(&mut self, path: &str, statement: &str) {
        let _ = self.victim.simple_query(statement);
        self.check(&format!("{statement}, with search_path = {path}"));
    }

    /// Mallory writes enough rows for a flush by a worker, and deletes some for VACUUM.
    fn write_rows(&mut self, table: &str) {
        let changes = format!(
            "INSERT INTO evil.{table}
             SELECT i, ARRAY[i % 50, i % 7, i % 31]::ext.vector FROM generate_series(1, 150) i;
             DELETE FROM evil.{table} WHERE id % 10 = 3"
        );
        run(&mut self.mallory, &changes);
    }

    /// Waits until a condition holds; a timeout is a failure of this step.
    fn wait(&mut self, step: &str, condition: &str) {
        let begin = Instant::now();
        while answer(&mut self.judge, &format!("SELECT {condition}")) != ["t"] {
            if begin.elapsed() >= Duration::from_secs(20) {
                self.failures.push(format!("{step}: waited in vain for {condition}"));
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Lets workers flush all indexes, with the settings of the database.
    fn flush_in_background(&mut self, database_setting: &str) {
        const GONE: &str = "count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'vdb worker'";
        let step = format!("workers after ALTER DATABASE mdb {database_setting}");
        // A worker that still runs has started with the earlier settings.
        self.wait(&step, GONE);
        run(&mut self.mallory, &format!("ALTER DATABASE mdb {database_setting}"));
        let begin = answer(&mut self.judge, "SELECT clock_timestamp()").remove(0);
        for table in TABLES {
            self.write_rows(table.name);
        }
        let flushed = format!(
            "count(DISTINCT index) = {} FROM ext.vdb_tasks
             WHERE kind = 'flush' AND state = 'completed' AND completed > '{begin}'",
            TABLES.len()
        );
        self.wait(&step, &flushed);
        self.wait(&step, GONE);
        self.check(&step);
    }
}

/// A superuser's statements on another user's table. Every name is qualified, because the extension
/// does not resolve the names in a superuser's own statement.
fn statements(table: &Table) -> Vec<String> {
    let Table { name, key, .. } = table;
    let from = format!("SELECT id FROM evil.{name}");
    let distance = format!("{key} OPERATOR(ext.<->) '[1,2,3]'::ext.vector");
    let within = format!("{distance} OPERATOR(pg_catalog.<=) '5'::pg_catalog.float8");
    let filter = "id OPERATOR(pg_catalog.<) 100";
    vec![
        format!("{from} ORDER BY {distance} LIMIT 3"),
        format!("{from} WHERE {filter} ORDER BY {distance} LIMIT 3"),
        format!("{from} WHERE {within}"),
        format!("{from} WHERE {within} AND {filter} ORDER BY {distance} LIMIT 3"),
        format!("EXPLAIN (ANALYZE, VERBOSE) {from} ORDER BY {distance} LIMIT 3"),
        format!("ANALYZE evil.{name}"),
        format!("VACUUM evil.{name}"),
        format!("REINDEX TABLE evil.{name}"),
    ]
}

#[test]
fn installing_the_extension_gives_no_rights() {
    let mut stage = Stage::new();
    stage.arm();
    let mut installed = 0;
    for (schema, _) in SCHEMAS {
        for (path, target) in [
            ("pg_catalog".to_owned(), *schema),
            (format!("{schema}, ext"), "ext"),
            (format!("{schema}, pg_catalog, ext"), "ext"),
        ] {
            let install = format!("SET search_path = {path}; CREATE EXTENSION vdb SCHEMA {target}");
            // An error is acceptable, too.
            match stage.mallory.batch_execute(&install) {
                Ok(()) => installed += 1,
                Err(error) => eprintln!("{install}: {error:?}"),
            }
            stage.check(&install);
            run(&mut stage.judge, "DROP EXTENSION IF EXISTS vdb CASCADE");
        }
    }
    assert!(installed > 0, "if all fail, not much has been tried");
    stage.verdict();
}

#[test]
fn what_a_superuser_calls_gives_no_rights() {
    let mut stage = Stage::with_tables();
    // Statements that may fail below must succeed once here.
    run(&mut stage.victim, "SET search_path = pg_catalog; SET enable_seqscan = off");
    for statement in TABLES.iter().flat_map(statements) {
        run(&mut stage.victim, &statement);
        stage.check(&statement);
    }
    let calls = answer(&mut stage.judge, CALLS);
    let is_of_index = |call: &&String| call.contains("INDEX");
    let (of_indexes, others): (Vec<_>, Vec<_>) = calls.iter().partition(is_of_index);
    assert!(!of_indexes.is_empty() && !others.is_empty(), "{calls:?}");
    for (schema, _) in SCHEMAS {
        for path in [format!("{schema}, pg_catalog, ext"), format!("{schema}, ext")] {
            run(&mut stage.victim, &format!("SET search_path = {path}"));
            for table in TABLES {
                // Growing rows and dead rows.
                stage.write_rows(table.name);
                let index = format!("evil.{}_v", table.name);
                for call in &of_indexes {
                    stage.lure(&path, &call.replace("INDEX", &index));
                }
                for statement in statements(table) {
                    stage.lure(&path, &statement);
                }
            }
            for call in &others {
                stage.lure(&path, call);
            }
        }
    }
    stage.verdict();
}

#[test]
fn background_workers_give_no_rights() {
    let mut stage = Stage::with_tables();
    stage.flush_in_background("RESET search_path");
    for (schema, _) in SCHEMAS {
        stage.flush_in_background(&format!("SET search_path = {schema}, pg_catalog"));
    }
    stage.verdict();
}

#[test]
fn expressions_of_an_index_run_as_the_owner_of_its_table() {
    const SEARCH: &str = "SELECT id FROM eve.t2 ORDER BY v::vector(3) <-> '[1,2,3]' LIMIT 3";
    let server = Server::start(&[]);
    let mut client = server.connect();
    run(
        &mut client,
        "CREATE EXTENSION vdb; CREATE ROLE eve; CREATE SCHEMA eve AUTHORIZATION eve;
         SET ROLE eve; SET search_path = eve, public;
         CREATE FUNCTION evil() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
             IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
                 ALTER ROLE eve SUPERUSER;
             END IF; END $$;
         CREATE FUNCTION f(vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
             PERFORM eve.evil(); RETURN $1; END $$;
         CREATE FUNCTION g(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
             PERFORM eve.evil(); RETURN $1; END $$;
         CREATE TABLE t (id int, v vector(3));
         INSERT INTO t SELECT i, array[i, i + 1, i + 2]::vector FROM generate_series(1, 3000) i;
         CREATE INDEX ti ON t USING vdb_hnsw ((f(v)::vector(3)) vector_l2_ops);
         CREATE TABLE t2 (id int, v vector);
         INSERT INTO t2 SELECT id, v FROM t;
         CREATE INDEX t2i ON t2 USING vdb_hnsw ((v::vector(3)) vector_l2_ops, (g(id)))
             WITH (rerank = 'heap');
         RESET ROLE; RESET search_path; SET enable_seqscan = off",
    );
    let mut gained = Vec::new();
    let check = "SELECT * FROM vdb_check('eve.ti', true)";
    for statement in [SEARCH, check, "SELECT * FROM vdb_calibrate('eve.ti', 5)"] {
        run(&mut client, statement);
        if is_superuser(&mut client, "eve") {
            gained.push(statement);
            run(&mut client, "ALTER ROLE eve NOSUPERUSER");
        }
    }
    assert_eq!(gained, [""; 0]);
    let plan = answer(&mut client, &format!("EXPLAIN {SEARCH}"));
    assert!(plan.iter().any(|line| line.contains("Index Scan using t2i")), "{plan:#?}");
}

#[test]
fn explaining_a_search_runs_that_search_and_nothing_else() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    run(
        &mut client,
        "CREATE EXTENSION vdb; CREATE ROLE mary; CREATE SCHEMA app AUTHORIZATION mary;
         CREATE TABLE items (id int, v vector(3));
         INSERT INTO items
             SELECT i, array[i % 50, i % 7, i]::vector FROM generate_series(1, 5000) i;
         CREATE INDEX items_v ON items USING vdb_hnsw (v vector_l2_ops);
         CREATE TABLE victim (i int);
         SET ROLE mary;
         CREATE FUNCTION app.format(text, regclass, text, text, text, text, text, int) RETURNS text
             LANGUAGE plpgsql AS $$ BEGIN
             ALTER ROLE mary SUPERUSER;
             RETURN 'SELECT FROM public.items ORDER BY v OPERATOR(public.<->) ''[1,2,3]'' LIMIT 1';
             END $$;
         RESET ROLE; SET search_path = public, app",
    );
    let steps = answer(&mut client, "SELECT step FROM vdb_explain_search('items_v', '[1,2,3]')");
    assert!(!steps.is_empty());
    assert!(!is_superuser(&mut client, "mary"), "a function on the search path has run");
    run(&mut client, "DROP FUNCTION app.format; RESET search_path");

    let filter = "1=1) LIMIT 1; DROP TABLE victim; SELECT 1 FROM items WHERE (true";
    let call = format!("SELECT step FROM vdb_explain_search('items_v', '[1,2,3]', 10, '{filter}')");
    texts(&mut client, &call).expect_err("a filter is one condition");
    assert_eq!(answer(&mut client, "SELECT to_regclass('victim')"), ["victim"]);

    let call = "SELECT step FROM vdb_explain_search('items_v', (SELECT v FROM items WHERE id = 7))";
    assert!(!answer(&mut client, call).is_empty(), "a vector is a query as well as its text");
}

#[test]
fn a_view_is_searched_without_rights_on_the_schema_of_the_extension() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    run(
        &mut client,
        "CREATE SCHEMA ext; CREATE EXTENSION vdb SCHEMA ext; CREATE ROLE bob;
         SET search_path = public, ext; SELECT setseed(0.5);
         CREATE TABLE docs (id serial, v vector(600));
         INSERT INTO docs (v) SELECT array_agg(random() + i * 0)::vector
             FROM generate_series(1, 300) i, generate_series(1, 600) j GROUP BY i;
         CREATE INDEX ON docs USING vdb_hnsw (v vector_l2_ops); ANALYZE docs;
         CREATE VIEW near AS SELECT id, v <-> (SELECT v FROM docs WHERE id = 1) d FROM docs
             ORDER BY v <-> (SELECT v FROM docs WHERE id = 1) LIMIT 5;
         CREATE VIEW within AS SELECT id FROM docs
             WHERE v <-> (SELECT v FROM docs WHERE id = 1) <= 5;
         GRANT SELECT ON near, within TO bob; SET ROLE bob",
    );
    for setting in ["enable_indexscan = off", "enable_indexscan = on", "enable_seqscan = off"] {
        run(&mut client, &format!("SET {setting}"));
        assert_eq!(answer(&mut client, "SELECT count(*) FROM near"), ["5"], "{setting}");
        // Random vectors of these dimensions are twice as far apart, so only the row itself
        // matches.
        assert_eq!(answer(&mut client, "SELECT count(*) FROM within"), ["1"], "{setting}");
    }
    let plan = answer(&mut client, "EXPLAIN SELECT count(*) FROM near");
    assert!(plan.iter().any(|line| line.contains("Index Scan")), "{plan:#?}");
}
