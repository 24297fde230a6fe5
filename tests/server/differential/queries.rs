//! Random queries over a random table, and the settings under which an index answers them.

use super::table::{CENTRES, COLUMNS, Column, OTHERS, Random, TAGS, Table};

/// The relation that the answer by index must have to the one without.
pub enum Check {
    /// The same rows in any order.
    Rows,
    /// The same rows in the same order.
    Order,
    /// Ids and distances: the same distances in order, and the same ids except for ties that the
    /// limit cuts.
    Nearest { limit: usize, may_miss: usize },
    /// Ids and distances: some of the rows that `all` finds, none twice.
    Limited {
        all: String,
        limit: usize,
        /// The share of the rows within the limit that may be missing.
        may_miss: f64,
        /// Whether they must be in order.
        is_ordered: bool,
    },
}

pub struct Query {
    /// Settings of the planner and of searches, for the answer by index.
    pub settings: String,
    /// Statements before the query under either plan, such as a PREPARE.
    pub before: String,
    /// The statement for EXPLAIN.
    pub statement: String,
    pub after: String,
    pub check: Check,
    /// Whether it has a range or an order that an index can answer.
    pub has_distance: bool,
    pub writes: bool,
}

/// Conditions on a column `{c}` with values `{x}` and `{y}` of its type.
const COMPARISONS: &[&str] = &[
    "{c} = {x}",
    "{c} < {x}",
    "{c} <= {x}",
    "{c} > {x}",
    "{x} >= {c}",
    "{c} BETWEEN {x} AND {y}",
    "{c} IN ({x}, {y})",
    "{c} IN ({x}, NULL)",
    "{c} NOT IN ({x}, {y})",
    "{c} = ANY (ARRAY[{x}, NULL, {y}])",
    "{c} <> ALL (ARRAY[{x}, {y}])",
    "{c} IS NULL",
    "{c} IS NOT NULL",
    "{c} <> {x}",
    "NOT {c} = {x}",
    "{c} = (SELECT {x})",
    "{c} IS NOT DISTINCT FROM {x}",
    "({c} = {x} OR {c} IS NULL)",
    "{c} > NULL",
    "{c} >= {x} AND {c} < {y}",
];

/// The same for a column of arrays.
const SETS: &[&str] = &[
    "{c} && {x}",
    "{c} @> {x}",
    "{c} <@ {x}",
    "{c} = {x}",
    "{c} <> {x}",
    "NOT {c} && {x}",
    "({c} @> {x} OR {c} @> {y})",
    "{c} IN ({x}, {y})",
    "{c} IS NULL",
    "{c} IS NOT NULL",
];

/// Conditions that use no filter column.
const OTHER_CONDITIONS: &[&str] =
    &["items.v IS NOT NULL", "items.v IS NULL", "items.id % 3 = 1", "items.id < 150", "true"];

/// Ranges of vectors `{v}` around a centre `{q}` with a radius `{r}`.
const RANGES: &[&str] = &[
    "{v} {op} {q} < {r}",
    "{v} {op} {q} < {r}",
    "{v} {op} {q} <= {r}",
    "{r} > {v} {op} {q}",
    "{r} >= {q} {op} {v}",
    "{q} {op} {v} < {r}",
    "{v} {op} {q} BETWEEN 0 AND {r}",
    "{v} {op} {q} BETWEEN {r} - 0.5 AND {r}",
    "{v} {op} {q} < {r} + 0.25",
    "{v} {within} vdb_sphere({q}, {r})",
    "NOT {v} {op} {q} >= {r}",
    "{v} {op} {q} >= {r}",
];

/// Statements with a condition `{w}` on items, columns `{c}` and `{s}` (no array), a centre `{q}`
/// and a radius `{r}`. Their answers do not depend on the order in which rows are found.
const SHAPES: &[&str] = &[
    "SELECT items.id FROM items WHERE {w}",
    "SELECT items.id FROM items WHERE {w}",
    "SELECT count(*), min(items.id), sum(items.id) FROM items WHERE {w}",
    "SELECT count(*), min(items.id) FROM items WHERE {w} GROUP BY items.{c}",
    "SELECT items.id, count(*) OVER (PARTITION BY items.{c}), rank() OVER (ORDER BY items.id)
     FROM items WHERE {w}",
    "SELECT items.id FROM items WHERE {w} ORDER BY items.id LIMIT 7",
    "SELECT items.id FROM items WHERE {w} FOR UPDATE",
    "WITH near AS MATERIALIZED (SELECT id, {c} FROM items WHERE {w})
     SELECT near.id, other.id FROM near JOIN other USING ({c}) WHERE other.id < 9",
    "WITH near AS NOT MATERIALIZED (SELECT * FROM items WHERE {w})
     SELECT a.id FROM near a JOIN near b USING (id)",
    "SELECT items.id, other.id FROM items JOIN other ON items.{c} = other.{c}
     WHERE other.id < 9 AND {w}",
    "SELECT other.id, count(items.id) FROM other LEFT JOIN items ON items.{c} = other.{c} AND {w}
     GROUP BY other.id",
    "SELECT other.id FROM other
     WHERE EXISTS (SELECT FROM items WHERE items.{c} = other.{c} AND {w})",
    "SELECT other.id FROM other
     WHERE NOT EXISTS (SELECT FROM items WHERE items.{c} = other.{c} AND {w})",
    "SELECT items.id FROM items
     WHERE items.{c} IN (SELECT other.{c} FROM other WHERE other.id < 5) AND {w}",
    "SELECT items.id FROM items
     WHERE items.{s} = ANY (ARRAY(SELECT other.{s} FROM other WHERE other.id < 5)) AND {w}",
    "SELECT other.id, x.id FROM other, LATERAL (
         SELECT items.id FROM items WHERE items.{c} = other.{c} AND {w} OFFSET 0) x
     WHERE other.id < 5",
    "SELECT other.id, x.id FROM other, LATERAL (
         SELECT items.id FROM items WHERE items.v {op} other.v < {r} AND {w} OFFSET 0) x
     WHERE other.id < 4",
    "SELECT items.id FROM items WHERE {w} UNION ALL SELECT items.id FROM items WHERE {w}",
    "UPDATE items SET large = 7 WHERE {w} RETURNING id",
    "UPDATE items SET v = {q} WHERE {w} RETURNING id",
    "UPDATE items SET cost = 1 FROM other WHERE items.{c} = other.{c} AND {w} RETURNING items.id",
    "DELETE FROM items WHERE {w} RETURNING id",
    "DELETE FROM items USING other WHERE items.{c} = other.{c} AND {w} RETURNING items.id",
    "WITH gone AS (DELETE FROM items WHERE {w} RETURNING id) SELECT count(*), sum(id) FROM gone",
];

/// A search for the `{k}` rows nearest to `{q}`. Adding 0 removes the sign of a zero.
const NEAREST: &str = "SELECT items.id, ((items.v {op} {q}) + 0)::real FROM items
     WHERE {w} ORDER BY items.v {op} {q} LIMIT {k}";
const ALL_IN_ORDER: &str = "SELECT items.id, ((items.v {op} {q}) + 0)::real FROM items WHERE {w}";
/// Searches whose order is complete.
const IN_ONE_ORDER: &[&str] = &[
    "SELECT items.id FROM items WHERE {w} ORDER BY items.v {op} {q}, items.id LIMIT {k}",
    "SELECT items.id FROM items WHERE {w} ORDER BY items.v {op} {q}, items.id LIMIT {k} OFFSET 3",
];
/// Searches whose answers are sets.
const SEARCHES: &[&str] = &[
    "SELECT items.id FROM items WHERE {w} ORDER BY items.v {op} {q} FETCH FIRST {k} ROWS WITH TIES",
    "SELECT other.id, x.distance FROM other, LATERAL (
         SELECT ((items.v {op} other.v) + 0)::real AS distance FROM items
         WHERE {w} ORDER BY items.v {op} other.v LIMIT {k}) x
     WHERE other.id < 4",
    "WITH near AS (SELECT (items.v {op} {q}) AS distance FROM items
                   WHERE {w} ORDER BY items.v {op} {q} LIMIT {k})
     SELECT count(*), (max(distance) + 0)::real FROM near",
];

/// A search whose answer is a set, and which reads to the end.
const RANKED: &str = "SELECT items.id, rank() OVER (ORDER BY items.v {op} {q})
     FROM items WHERE {w}";

/// Settings of an index scan.
struct Effort {
    settings: String,
    /// The share of rows that a scan may miss: none if it goes on until it has returned them all.
    may_miss: f64,
    is_ordered: bool,
}

/// Settings of vdb.ef_search and vdb.probes with which a search looks at every row.
const MOST_EFFORT: (&str, &str) = ("10000", "65536");

pub struct Queries<'a> {
    random: &'a mut Random,
    table: &'a Table,
    /// For each centre some distances of rows from it, in ascending order.
    radii: &'a [Vec<String>],
    /// Types and values that became parameters; `None` if the query is not to be prepared.
    parameters: Option<Vec<(String, String)>>,
}

impl<'a> Queries<'a> {
    pub fn new(random: &'a mut Random, table: &'a Table, radii: &'a [Vec<String>]) -> Self {
        Self { random, table, radii, parameters: None }
    }

    /// The next query, of a random kind.
    pub fn draw(&mut self) -> Query {
        match self.random.below(10) {
            0..=1 => self.filtered(),
            2..=5 => self.ranged(),
            6..=7 => self.limited(),
            _ => self.exhaustive(),
        }
    }

    /// A query on filter columns alone.
    fn filtered(&mut self) -> Query {
        self.parameters = self.random.chance(30).then(Vec::new);
        let first = self.filter();
        let has_second = self.random.chance(40);
        let condition = if has_second { format!("{first} AND {}", self.filter()) } else { first };
        self.exact(&condition)
    }

    /// A query on a range, which must find all rows whatever the effort of a search is.
    fn ranged(&mut self) -> Query {
        self.parameters = self.random.chance(35).then(Vec::new);
        let range = self.any_range();
        let condition = match self.random.below(10) {
            0..=3 => range,
            4..=7 => format!("{range} AND {}", self.filter()),
            8 => format!("{range} AND {}", self.any_range()),
            _ => format!("({range} OR {})", self.filter()),
        };
        self.exact(&condition)
    }

    fn exact(&mut self, condition: &str) -> Query {
        let shape = self.random.pick(SHAPES);
        let settings = self.planner() + &self.effort().settings;
        let centre = self.table.literal(&self.table.centres[self.random.below(CENTRES)]);
        let statement = self.fill(shape, condition, &centre);
        self.wrap(statement, settings, Check::Rows)
    }

    /// A search that looks at every row.
    fn exhaustive(&mut self) -> Query {
        self.parameters = self.random.chance(30).then(Vec::new);
        let number = self.random.below(CENTRES);
        let centre = self.centre(number);
        let condition = self.search_condition(number);
        // Far from the query the error bounds of a few codes fail, and such a row is found too late
        // for the order. Searches that read to the end by codes are therefore limited ones.
        let has_codes = self.table.has_codes;
        let limit = [1, 3, 10, 50, 3000][self.random.below(if has_codes { 4 } else { 5 })];
        let (shape, check) = match self.random.below(10) {
            9 if !has_codes => (RANKED, Check::Rows),
            // The bound of one code in a hundred fails.
            0..=4 => (NEAREST, Check::Nearest { limit, may_miss: if has_codes { limit / 10 } else { 0 } }),
            5..=6 => (self.random.pick(IN_ONE_ORDER), Check::Order),
            _ => (self.random.pick(SEARCHES), Check::Rows),
        };
        let limit = self.term("bigint", limit.to_string());
        let statement = self.fill(shape, &condition, &centre).replace("{k}", &limit);
        let order = self.random.pick(&["strict", "relaxed"]);
        let settings = format!(
            "{}SET LOCAL vdb.ef_search = {}; SET LOCAL vdb.probes = {};
             SET LOCAL vdb.iterative_scan = {order}; ",
            self.planner(),
            MOST_EFFORT.0,
            MOST_EFFORT.1
        );
        self.wrap(statement, settings, check)
    }

    /// A search that may miss rows.
    fn limited(&mut self) -> Query {
        // Its rows are compared with the answer of another statement, which has no parameters.
        self.parameters = None;
        let number = self.random.below(CENTRES);
        let centre = self.centre(number);
        let condition = self.search_condition(number);
        let limit = [1, 5, 20, 100, 3000][self.random.below(5)];
        let statement = self.fill(NEAREST, &condition, &centre).replace("{k}", &limit.to_string());
        let effort = self.effort();
        let check = Check::Limited {
            all: self.fill(ALL_IN_ORDER, &condition, &centre),
            limit,
            // In order, the effort limits the search of a range.
            may_miss: if self.has_range(&condition) { 1.0 } else { effort.may_miss },
            is_ordered: effort.is_ordered,
        };
        let settings = self.planner() + &effort.settings;
        self.wrap(statement, settings, check)
    }

    /// A condition for rows in the index, usually with further conditions. A range is around the
    /// centre of the search, or around another.
    fn search_condition(&mut self, number: usize) -> String {
        let indexed = self.table.is_indexed();
        match self.random.below(10) {
            0..=2 => indexed.into(),
            3..=6 => format!("{indexed} AND {}", self.filter()),
            7 => format!("{indexed} AND {}", self.range(number)),
            8 => format!("{indexed} AND {} AND {}", self.range(number), self.filter()),
            _ => format!("{indexed} AND {}", self.any_range()),
        }
    }

    /// A value as a literal or, in a query that is to be prepared, usually as a parameter.
    fn term(&mut self, sql_type: &str, literal: String) -> String {
        let is_parameter = self.random.chance(70);
        match &mut self.parameters {
            Some(parameters) if is_parameter => {
                parameters.push((sql_type.into(), literal));
                format!("${}", parameters.len())
            }
            _ => literal,
        }
    }

    fn value(&mut self, column: &Column) -> String {
        let literal = format!("'{}'::{}", self.random.pick(column.values), column.sql_type);
        self.term(column.sql_type, literal)
    }

    /// A condition on a filter column, usually one of the index.
    fn filter(&mut self) -> String {
        if self.random.chance(8) {
            return self.random.pick(OTHER_CONDITIONS).into();
        }
        let column = if !self.table.indexed.is_empty() && self.random.chance(75) {
            self.random.pick(&self.table.indexed)
        } else {
            self.random.pick(&COLUMNS)
        };
        let condition = if !column.conditions.is_empty() && self.random.chance(20) {
            self.random.pick(column.conditions)
        } else if column.name == TAGS.name {
            self.random.pick(SETS)
        } else {
            self.random.pick(COMPARISONS)
        };
        let (x, y) = (self.value(column), self.value(column));
        let name = format!("items.{}", column.name);
        condition.replace("{c}", &name).replace("{x}", &x).replace("{y}", &y)
    }

    fn any_range(&mut self) -> String {
        let number = self.random.below(CENTRES);
        self.range(number)
    }

    /// A range around a centre, or none.
    fn range(&mut self, number: usize) -> String {
        let range = self.random.pick(RANGES);
        let (centre, radius) = (self.centre(number), self.radius(number));
        range
            .replace("{v}", "items.v")
            .replace("{op}", self.table.metric.operator)
            .replace("{within}", self.table.metric.within)
            .replace("{r}", &radius)
            .replace("{q}", &centre)
    }

    fn centre(&mut self, number: usize) -> String {
        match self.random.below(20) {
            0 => self.term(self.table.kind, format!("NULL::{}", self.table.column_type())),
            1 => "(SELECT o.v FROM other o WHERE o.id = -1)".into(),
            2..=4 => format!("(SELECT o.v FROM other o WHERE o.id = {})", number + 1),
            // The distance of a random row, if there is one.
            5 => {
                let id = 1 + self.random.below(OTHERS);
                format!("(SELECT o.v FROM other o WHERE o.id = {id})")
            }
            _ => self.term(self.table.kind, self.table.literal(&self.table.centres[number])),
        }
    }

    fn radius(&mut self, number: usize) -> String {
        let literal = match self.random.below(25) {
            0 => "NULL::float8".into(),
            1..=2 => "'NaN'::float8".into(),
            3 => "'Infinity'::float8".into(),
            4 => "'-Infinity'::float8".into(),
            5 => return "(SELECT r FROM radii WHERE false)".into(),
            6..=7 => return format!("(SELECT r FROM radii WHERE k = {})", 1 + self.random.below(4)),
            // The exact distance of a row. A table without vectors has none.
            _ => match &self.radii[number][..] {
                [] => "1.0::float8".into(),
                radii => {
                    let radius = &radii[self.random.below(radii.len())];
                    let is_number = radius.parse().is_ok_and(f64::is_finite);
                    let is_bare = is_number && self.random.chance(30);
                    if is_bare { radius.clone() } else { format!("'{radius}'::float8") }
                }
            },
        };
        self.term("float8", literal)
    }

    /// A statement without its limit.
    fn fill(&mut self, shape: &str, condition: &str, centre: &str) -> String {
        let column = self.random.pick(&COLUMNS);
        let scalar = self.random.pick(&COLUMNS[..COLUMNS.len() - 1]);
        let number = self.random.below(CENTRES);
        let radius = self.radius(number);
        shape
            .replace("{c}", column.name)
            .replace("{s}", scalar.name)
            .replace("{op}", self.table.metric.operator)
            .replace("{r}", &radius)
            .replace("{w}", &format!("({condition})"))
            .replace("{q}", centre)
    }

    /// Whether a statement or condition compares distances.
    fn has_range(&self, sql: &str) -> bool {
        sql.contains(self.table.metric.operator) || sql.contains(self.table.metric.within)
    }

    /// Settings under which a plan is likely to use an index.
    fn planner(&mut self) -> String {
        let scans = ["SET LOCAL enable_seqscan = off; ", "SET LOCAL enable_seqscan = off; ", ""];
        let joins = ["", "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; "];
        format!("{}{}", self.random.pick(&scans), self.random.pick(&joins))
    }

    fn effort(&mut self) -> Effort {
        let onward = self.random.pick(&["strict", "relaxed", "relaxed", "off"]);
        let tuples = self.random.pick(&["0", "0", "0", "1", "50"]);
        let memory = self.random.pick(&["1MB", "256MB", "256MB"]);
        let (ef_search, probes) = if self.random.chance(30) {
            MOST_EFFORT
        } else {
            let ef_search = self.random.pick(&["1", "10", "100", "10000"]);
            (ef_search, self.random.pick(&["0", "1", "3", "65536"]))
        };
        let settings = format!(
            "SET LOCAL vdb.ef_search = {ef_search}; SET LOCAL vdb.probes = {probes};
             SET LOCAL vdb.iterative_scan = {onward}; SET LOCAL vdb.max_scan_tuples = {tuples};
             SET LOCAL vdb.scan_mem = '{memory}'; "
        );
        let may_miss = match (onward, tuples) {
            ("relaxed", "0") => 0.0,
            // The error bounds of a few codes fail; rows that are found too late are left out.
            ("strict", "0") if (ef_search, probes) == MOST_EFFORT => 0.02,
            _ => 1.0,
        };
        Effort { settings, may_miss, is_ordered: onward != "relaxed" }
    }

    /// Runs a statement directly, prepared or by a cursor; sometimes as a user from whom a policy
    /// hides some rows.
    fn wrap(&mut self, sql: String, settings: String, check: Check) -> Query {
        let has_distance = self.has_range(&sql);
        let writes = ["UPDATE", "DELETE", "WITH gone"].iter().any(|verb| sql.starts_with(verb));
        let mut before = String::new();
        if self.random.chance(12) {
            before.push_str("SET LOCAL ROLE reader; ");
        }
        let (statement, mut after) = match self.parameters.take() {
            Some(parameters) => {
                let mode = self.random.pick(&["force_generic_plan", "force_custom_plan"]);
                let (types, values): (Vec<String>, Vec<String>) = parameters.into_iter().unzip();
                let list = |items: Vec<String>| match items.is_empty() {
                    true => String::new(),
                    false => format!(" ({})", items.join(", ")),
                };
                before.push_str(&format!(
                    "SET LOCAL plan_cache_mode = {mode}; PREPARE p{} AS {sql}; ",
                    list(types)
                ));
                (format!("EXECUTE p{}", list(values)), String::new())
            }
            None if !writes && self.random.chance(20) => {
                let fetches = "FETCH 1 FROM c; FETCH 7 FROM c; FETCH ALL FROM c; ";
                (format!("DECLARE c CURSOR FOR {sql}"), fetches.into())
            }
            None => (sql, String::new()),
        };
        if writes {
            after.push_str("SELECT count(*), count(*) FILTER (WHERE large = 7) FROM items; ");
        }
        Query { settings, before, statement, after, check, has_distance, writes }
    }
}
