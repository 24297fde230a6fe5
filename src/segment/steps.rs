//! Which way a segment is searched: what each way would take, and the rules that choose.
//!
//! Figures are nanoseconds on the machine that ARCHITECTURE.md names; only their ratios matter.

use super::graph::stored::NodeLayout;
use super::lists::search::SCANNED_PER_RETURNED;
use crate::codec::rotation::rotated_dims;
use crate::distance::Space;
use crate::graph::search::Patience;
use crate::storage::snapshot::Snapshot;
use crate::structure::{GraphLayout, GraphOptions, Quantizer, Rerank, Structure};

/// How a segment with a graph is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// No row can match.
    Nothing,
    /// Past the graph, row by row.
    Flat,
    /// Through the graph, until `ef` rows that match are found, or past it when patience ends.
    Graph { ef: usize, patience: Patience },
}

/// How rows within some distance are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// All of them, in any order.
    All,
    /// The nearest first, of which the first few may be enough.
    InOrder,
}

/// What is known of a segment with a graph before it is searched.
#[derive(Clone, Copy, Debug)]
pub struct GraphFacts {
    pub space: Space,
    pub options: GraphOptions,
    pub codes: GraphCodes,
    pub rows: usize,
    /// Rows that match, if there are conditions.
    pub matches: Option<usize>,
    /// Whether rows within some distance are wanted.
    pub range: Option<Range>,
}

/// What codes a graph has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphCodes {
    None,
    /// A node its neighbours', and rows theirs in blocks.
    Neighbours,
    /// Each node its own.
    Own {
        rerank: Rerank,
    },
}

impl From<NodeLayout> for GraphCodes {
    fn from(layout: NodeLayout) -> Self {
        match layout {
            NodeLayout::Plain => GraphCodes::None,
            NodeLayout::Wide { .. } => GraphCodes::Neighbours,
            NodeLayout::Compact { rerank, .. } => GraphCodes::Own { rerank },
        }
    }
}

impl GraphFacts {
    fn share(self) -> f64 {
        self.matches.map_or(1.0, |matches| matches as f64 / self.rows.max(1) as f64)
    }

    /// Dimensions of codes.
    fn dims(self) -> f64 {
        rotated_dims(self.space.dims as usize) as f64
    }

    /// Nanoseconds that visiting a node with codes takes.
    fn coded_hop(self) -> f64 {
        CODED_HOP + CODED_HOP_DIM * self.dims()
    }

    /// Nanoseconds that estimating by a node's own code takes.
    fn own_code(self) -> f64 {
        OWN_CODE + OWN_CODE_DIM * self.dims()
    }

    /// Nanoseconds that comparing a vector takes.
    fn comparison(self) -> f64 {
        let bytes = self.space.row_bytes().unwrap_or(SPARSE_BYTES) as f64;
        match self.codes {
            GraphCodes::Own { rerank: Rerank::Heap } => FETCH + bytes * FETCH_BYTE,
            GraphCodes::None | GraphCodes::Neighbours | GraphCodes::Own { rerank: Rerank::Index } => {
                COMPARISON + bytes * COMPARISON_BYTE
            }
        }
    }

    /// Nanoseconds that a node on the way of a walk takes.
    fn each(self) -> f64 {
        match self.codes {
            GraphCodes::None => self.comparison(),
            GraphCodes::Neighbours => self.coded_hop(),
            GraphCodes::Own { .. } => self.own_code(),
        }
    }

    /// Nanoseconds of a search past the graph.
    pub fn flat_cost(self) -> f64 {
        let matches = self.matches.unwrap_or(self.rows) as f64;
        if self.codes == GraphCodes::None {
            return matches * self.comparison();
        }
        let compared = (FLAT_LEAST_COMPARED + FLAT_COMPARED * matches.sqrt()).min(matches);
        if let GraphCodes::Own { .. } = self.codes {
            return matches * self.own_code() + compared * OWN_COMPARED * self.comparison();
        }
        let blocks = self.rows as f64 / BLOCK_ROWS;
        // The share of blocks that have a row that matches, if they are spread evenly.
        let touched = blocks * (1.0 - (1.0 - self.share()).powf(BLOCK_ROWS));
        touched * (BLOCK + BLOCK_DIM * self.dims()) + compared * self.comparison()
    }

    /// Nanoseconds of a search through the graph that looks for `ef` rows that match.
    pub fn graph_cost(self, ef: usize) -> f64 {
        let candidates = (ef as f64 / self.share().max(f64::MIN_POSITIVE)).min(self.rows as f64);
        let neighbours = 2.0 * f64::from(self.options.m) * FRESH_NEIGHBOURS;
        let compared = match self.codes {
            GraphCodes::None => 0.0,
            GraphCodes::Neighbours => return (CODED_HOPS * candidates + ENTRY_HOPS) * self.coded_hop(),
            GraphCodes::Own { .. } => OWN_COMPARED * FLAT_LEAST_COMPARED,
        };
        (candidates + ENTRY_HOPS) * neighbours * self.each() + compared * self.comparison()
    }

    /// The cost of the search that [`choose`] chooses.
    pub fn cost(self, ef: usize) -> Cost {
        let matches = self.matches.unwrap_or(self.rows) as f64;
        let column = if self.matches.is_some() { self.rows as f64 * COLUMN_ROW } else { 0.0 };
        match choose(self, ef) {
            Step::Nothing => Cost { begin: column, ..Cost::default() },
            Step::Flat => Cost {
                begin: column + self.flat_cost(),
                rows: matches.min(FLAT_ROWS),
                further: self.comparison() + FURTHER_ROW,
            },
            Step::Graph { ef, .. } => {
                let walk = self.graph_cost(ef);
                Cost { begin: column + walk, rows: ef as f64, further: walk / ef as f64 }
            }
        }
    }
}

/// What a search takes, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Before the first row.
    pub begin: f64,
    /// Rows that it can return then, before it has to go on.
    pub rows: f64,
    /// For each row after those.
    pub further: f64,
}

/// What is known of all segments with lists before they are searched.
#[derive(Clone, Copy, Debug)]
pub struct ListFacts {
    pub space: Space,
    /// Rows and lists of the codes that rows are looked at by: bits, bytes, or none.
    pub codes: Quantizer,
    pub lists: usize,
    pub rows: usize,
    /// Rows that match, if there are conditions.
    pub matches: Option<usize>,
    /// Whether rows' vectors are in the index, not only in the table.
    pub has_vectors: bool,
}

impl ListFacts {
    /// What is known of the segments of an index, so many of whose rows match if there are conditions.
    pub fn of(snapshot: &Snapshot, matches: Option<usize>) -> Self {
        let (meta, manifest) = (&snapshot.meta, &snapshot.manifest);
        Self {
            space: meta.space,
            codes: meta.quantizer,
            lists: manifest.codebook().map_or(1, |codebook| codebook.lists as usize),
            rows: manifest.sealed.iter().map(|segment| segment.rows as usize).sum(),
            matches,
            has_vectors: matches!(meta.structure, Structure::Lists(options) if options.rerank == Rerank::Index),
        }
    }

    /// Nanoseconds of comparing every row that matches, in the order in which they lie.
    fn flat_cost(self) -> f64 {
        let bytes = self.space.row_bytes().unwrap_or(SPARSE_BYTES) as f64;
        let each =
            if self.has_vectors { MATCH + bytes * COMPARISON_BYTE } else { FETCH + bytes * FETCH_BYTE };
        self.matches.unwrap_or(self.rows) as f64 * each
    }

    /// Rule *few matches*: lists are not worth ranking if comparing every row that matches takes less time. Else they
    /// are probed, `probes` of them where all rows match (see [`probe`]).
    pub fn choose(self, probes: usize) -> ListStep {
        let matches = self.matches.unwrap_or(self.rows);
        // Who is in two lists is looked at twice.
        let twice = |probing: Probing| Probing { least: probing.least * self.copies() as u64, ..probing };
        match probe(self.rows, matches, self.lists, probes).map(twice) {
            None => ListStep::Nothing,
            Some(probing) if matches < self.rows && self.flat_cost() <= self.probing_cost(probing) => {
                ListStep::Flat
            }
            Some(probing) => ListStep::Lists(probing),
        }
    }

    /// Lists that a row is in.
    fn copies(self) -> usize {
        if self.codes.has_second_lists() && self.lists > 1 { 2 } else { 1 }
    }

    /// The part of the rows that so many lists should have; who is in two lists counts twice.
    fn within(self, Probing { probes, .. }: Probing) -> GraphFacts {
        let copies = self.copies();
        let share = |rows: usize| (copies * rows * probes).div_ceil(self.lists.max(1)).min(copies * rows);
        GraphFacts {
            space: self.space,
            options: GraphOptions {
                m: 0,
                ef_construction: 0,
                layout: GraphLayout::Wide,
                rerank: Rerank::Index,
            },
            codes: if self.codes == Quantizer::Rabitq { GraphCodes::Neighbours } else { GraphCodes::None },
            rows: share(self.rows),
            matches: self.matches.map(share),
            range: None,
        }
    }

    /// Nanoseconds of ranking lists and of scanning those that are probed first.
    fn probing_cost(self, probing: Probing) -> f64 {
        let lists = self.lists as f64 * RANKED_LIST + probing.probes as f64 * PROBED_LIST;
        lists + self.within(probing).flat_cost()
    }

    /// The cost of a search that probes so many lists without a filter.
    pub fn cost(self, probes: usize) -> Cost {
        let column = if self.matches.is_some() { self.rows as f64 * COLUMN_ROW } else { 0.0 };
        match self.choose(probes) {
            ListStep::Nothing => Cost { begin: column, ..Cost::default() },
            ListStep::Flat => Cost {
                begin: column + self.flat_cost(),
                rows: self.matches.unwrap_or(self.rows) as f64,
                further: 0.0,
            },
            ListStep::Lists(probing) => {
                let scan = self.probing_cost(probing);
                let within = self.within(probing);
                let looked_at = within.matches.unwrap_or(within.rows) as f64;
                let rows = (looked_at / SCANNED_PER_RETURNED as f64).max(1.0);
                Cost { begin: column + scan, rows, further: scan / rows + FURTHER_ROW }
            }
        }
    }
}

/// Nanoseconds that looking through rows of growing segments takes.
pub fn growing_cost(rows: f64, has_codes: bool) -> f64 {
    rows * if has_codes { GROWING_CODE } else { GROWING_VECTOR }
}

/// A row of a growing segment, with its code and without.
const GROWING_CODE: f64 = 15.0;
const GROWING_VECTOR: f64 = 150.0;
/// Rows that a flat search has at hand, and keeping any after those.
const FLAT_ROWS: f64 = 64.0;
const FURTHER_ROW: f64 = 400.0;
/// A row of a filter column; a list that is ranked; one that is probed.
const COLUMN_ROW: f64 = 0.4;
const RANKED_LIST: f64 = 60.0;
const PROBED_LIST: f64 = 300.0;
/// A comparison, and each byte of it.
const COMPARISON: f64 = 150.0;
const COMPARISON_BYTE: f64 = 0.1;
/// A row that matches, whose vector is compared, without the bytes of that; the same if it is fetched from the table.
const MATCH: f64 = 200.0;
const FETCH: f64 = 700.0;
const FETCH_BYTE: f64 = 0.2;
/// A block of codes, and each of its dimensions.
const BLOCK: f64 = 95.0;
const BLOCK_DIM: f64 = 0.36;
const BLOCK_ROWS: f64 = 32.0;
/// Rows compared at least, and for each row in the square root of those that match.
const FLAT_LEAST_COMPARED: f64 = 20.0;
const FLAT_COMPARED: f64 = 0.6;
/// Nodes visited for each candidate where estimates lead the way, which promise more than they keep.
const CODED_HOPS: f64 = 3.5;
const CODED_HOP: f64 = 900.0;
const CODED_HOP_DIM: f64 = 0.4;
const ENTRY_HOPS: f64 = 4.0;
/// A node's own code, and each of its dimensions; the share of rows compared by such codes that is compared by single bits.
const OWN_CODE: f64 = 60.0;
const OWN_CODE_DIM: f64 = 0.06;
const OWN_COMPARED: f64 = 0.5;
/// Share of a node's neighbours that were not compared before.
const FRESH_NEIGHBOURS: f64 = 0.55;
const SPARSE_BYTES: usize = 512;

/// Matching candidates that a walk through a graph keeps at least: those that will be wanted, and some to choose from.
const LEAST_EF: f64 = 16.0;

/// Rule *effort under a filter*: with a share `s` of the rows matching, the walk looks at `ef / s^¼` candidates, `ef · s^¾`
/// of which match. The nearest ten that match are farther than the nearest ten of all, so more must be looked at; but
/// not as many more as they are fewer, for the walk does not stop before it has found enough.
pub fn filtered_ef(ef: usize, share: f64) -> usize {
    let wanted = (ef as f64 * share.powf(0.75)).max(LEAST_EF.min(ef as f64));
    wanted.ceil() as usize
}

/// Rule *index selection*: whichever way takes less time.
pub fn choose(facts: GraphFacts, ef: usize) -> Step {
    if facts.matches == Some(0) || facts.rows == 0 {
        return Step::Nothing;
    }
    // Rule *range*: in no order all rows are listed. In order a walk finds the nearest, and what is left is looked for past
    // the graph; a walk that would look at every row does no better.
    if facts.range == Some(Range::All) || facts.range.is_some() && ef >= facts.rows {
        return Step::Flat;
    }
    let ef = filtered_ef(ef, facts.share());
    let flat = facts.flat_cost();
    if flat <= facts.graph_cost(ef) {
        Step::Flat
    } else {
        Step::Graph { ef, patience: patience(facts, flat) }
    }
}

/// Without a filter a walk may take so many times as long as a flat search should: a query that is far from everything has
/// a long way, but its bounds tell little, so that a flat search compares tens of thousands of rows (GloVe, ef 250: 12 ms
/// instead of 1.5 for four queries in ten).
const UNFILTERED_PATIENCE: f64 = 4.0;

/// Rule *change of step*: a walk that has taken as long as a flat search would is given up for one. So whatever misleads
/// the estimate, rows asked for without end most likely, takes a few times as long at most. One that meets far fewer matches
/// than expected is given up much earlier: they are far from the query.
fn patience(facts: GraphFacts, flat: f64) -> Patience {
    let (share, times) = facts.matches.map_or((0.0, UNFILTERED_PATIENCE), |_| (facts.share(), 1.0));
    Patience { budget: (times * flat / facts.each()) as usize, share }
}

/// How segments with lists are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListStep {
    /// No row matches.
    Nothing,
    /// Past the lists, every row that matches.
    Flat,
    /// List by list.
    Lists(Probing),
}

/// Which lists are probed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probing {
    /// Lists probed before the first row is returned.
    pub probes: usize,
    /// Further lists are probed until so many rows that match were looked at.
    pub least: u64,
}

/// Rule *probes under a filter*: with a share `s` of the rows matching, `probes / √s` lists. Where those have fewer matches than they should
/// have if matches were spread evenly, the filter goes with the vectors, and farther lists are probed until they do.
///
/// `None` if no row matches.
pub fn probe(rows: usize, matches: usize, lists: usize, probes: usize) -> Option<Probing> {
    if matches == 0 {
        return None;
    }
    if matches >= rows {
        return Some(Probing { probes, least: 0 });
    }
    let share = matches as f64 / rows as f64;
    let wider = ((probes as f64 / share.sqrt()).ceil() as usize).min(lists.max(1));
    let expected = matches as f64 * wider as f64 / lists.max(1) as f64;
    Some(Probing { probes: wider, least: (expected * LEAST_EXPECTED) as u64 })
}

/// Share of the matches expected that makes do.
const LEAST_EXPECTED: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::{ElementKind, Metric};

    const CODES: [GraphCodes; 3] =
        [GraphCodes::None, GraphCodes::Neighbours, GraphCodes::Own { rerank: Rerank::Index }];

    fn facts(dims: u32, codes: GraphCodes, rows: usize, matches: Option<usize>) -> GraphFacts {
        let space = Space { kind: ElementKind::F32, metric: Metric::L2, dims };
        let options =
            GraphOptions { m: 16, ef_construction: 64, layout: GraphLayout::Wide, rerank: Rerank::Index };
        GraphFacts { space, options, codes, rows, matches, range: None }
    }

    fn is_graph(step: Step) -> bool {
        matches!(step, Step::Graph { .. })
    }

    #[test]
    fn few_rows_are_looked_at_one_by_one() {
        for codes in CODES {
            assert_eq!(choose(facts(768, codes, 1_000_000, Some(0)), 100), Step::Nothing);
            assert_eq!(choose(facts(768, codes, 1_000_000, Some(100)), 100), Step::Flat);
            assert_eq!(choose(facts(768, codes, 500, None), 100), Step::Flat);
            assert!(is_graph(choose(facts(768, codes, 10_000_000, None), 100)));
            assert!(is_graph(choose(facts(768, codes, 10_000_000, Some(5_000_000)), 100)));
        }
    }

    #[test]
    fn ranges_are_looked_through_unless_the_first_few_rows_may_do() {
        let range = |range, codes, ef| {
            choose(GraphFacts { range: Some(range), ..facts(768, codes, 1_000_000, None) }, ef)
        };
        assert_eq!(range(Range::All, CODES[1], 100), Step::Flat);
        assert!(is_graph(range(Range::InOrder, CODES[1], 100)));
        assert_eq!(range(Range::All, CODES[0], 100), Step::Flat, "every vector is compared");
        assert_eq!(range(Range::InOrder, CODES[0], 1_000_000), Step::Flat);
    }

    #[test]
    fn codes_carry_further_than_vectors() {
        assert_eq!(choose(facts(768, CODES[1], 100_000, Some(3_000)), 100), Step::Flat);
        assert!(is_graph(choose(facts(768, CODES[0], 100_000, Some(30_000)), 100)));
    }

    #[test]
    fn fewer_matches_mean_more_candidates() {
        assert_eq!(filtered_ef(100, 1.0), 100);
        assert_eq!(filtered_ef(100, 0.1), 18);
        assert_eq!(filtered_ef(100, 0.0001), 16);
        assert_eq!(filtered_ef(10, 0.0001), 10);
    }

    #[test]
    fn lists_are_probed_for_matches() {
        assert_eq!(probe(1000, 0, 10, 3), None);
        assert_eq!(probe(1000, 1000, 10, 3), Some(Probing { probes: 3, least: 0 }));
        assert_eq!(probe(100_000, 25_000, 1000, 100), Some(Probing { probes: 200, least: 2500 }));
        assert_eq!(probe(100_000, 10, 1000, 100), Some(Probing { probes: 1000, least: 5 }));
    }

    #[test]
    fn few_matches_are_compared_past_the_lists() {
        let facts = |matches, has_vectors| ListFacts {
            space: Space { kind: ElementKind::F32, metric: Metric::L2, dims: 100 },
            codes: Quantizer::Rabitq,
            lists: 2000,
            rows: 300_000,
            matches,
            has_vectors,
        };
        let choose = |matches, has_vectors| facts(matches, has_vectors).choose(180);
        assert_eq!(choose(Some(0), true), ListStep::Nothing);
        assert_eq!(choose(Some(3000), true), ListStep::Flat);
        assert!(matches!(choose(Some(3000), false), ListStep::Lists(_)), "the table is slower to read");
        assert_eq!(choose(Some(30), false), ListStep::Flat);
        assert!(matches!(choose(Some(30_000), true), ListStep::Lists(_)));
        assert!(matches!(choose(None, true), ListStep::Lists(_)));
        let cost = |matches| facts(Some(matches), true).cost(180).begin;
        assert!(cost(30) < cost(3000));
    }

    #[test]
    fn a_walk_may_take_as_long_as_a_flat_search() {
        let facts = facts(768, CODES[1], 10_000_000, Some(5_000_000));
        let Step::Graph { ef, patience: Patience { budget, .. } } = choose(facts, 100) else {
            panic!("a flat search")
        };
        assert!(budget as f64 * facts.coded_hop() <= facts.flat_cost());
        assert!(
            budget as f64 * facts.coded_hop() > facts.graph_cost(ef),
            "it must be able to do what it is chosen for"
        );
    }
}
