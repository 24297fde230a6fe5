//! How a segment is searched: the rules that choose by the cost of each way (see
//! [`super::cost_model`]).

use super::cost_model::{COLUMN_ROW, Cost, FLAT_ROWS, FURTHER_ROW, GraphFacts, ListFacts, Probing, Range};

/// When a walk through a graph gives up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WalkBudget {
    /// Nodes that it may compare; it may exceed this by a few.
    pub nodes: usize,
    /// The share of nodes that match. If far fewer match on the way, the matching ones are far from
    /// the query.
    pub share: f64,
}

impl WalkBudget {
    /// A search that does not give up.
    #[cfg(test)]
    pub const ENDLESS: Self = Self { nodes: usize::MAX, share: 0.0 };
}

/// Rows scanned for each row that may be returned before further lists are probed.
pub const SCANNED_PER_RETURNED: u64 = 8;

/// How a segment with a graph is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GraphStrategy {
    /// No row can match.
    Nothing,
    /// Without the graph, row by row.
    Flat,
    /// Through the graph, until `ef` rows that match are found, or without it once the budget is
    /// spent.
    Graph { ef: usize, budget: WalkBudget },
}

impl GraphFacts {
    /// The cost of the search that [`choose`] chooses.
    pub fn cost(self, ef: usize) -> Cost {
        let matches = self.matches.unwrap_or(self.rows) as f64;
        let column = if self.matches.is_some() { self.rows as f64 * COLUMN_ROW } else { 0.0 };
        match choose(self, ef) {
            GraphStrategy::Nothing => Cost { begin: column, ..Cost::default() },
            GraphStrategy::Flat => Cost {
                begin: column + self.flat_cost(),
                rows: matches.min(FLAT_ROWS),
                further: self.comparison() + FURTHER_ROW,
            },
            GraphStrategy::Graph { ef, .. } => {
                let walk = self.graph_cost(ef);
                Cost { begin: column + walk, rows: ef as f64, further: walk / ef as f64 }
            }
        }
    }
}

impl ListFacts {
    /// Rule *few matches*: lists are not worth ranking if comparing every matching row takes less
    /// time. Else they are probed, `probes` of them where all rows match (see [`probe`]).
    pub fn choose(self, probes: usize) -> ListStrategy {
        let matches = self.matches.unwrap_or(self.rows);
        // Rows in two lists are looked at twice.
        let twice = |probing: Probing| Probing { least: probing.least * self.copies() as u64, ..probing };
        match probe(self.rows, matches, self.lists, probes).map(twice) {
            None => ListStrategy::Nothing,
            Some(probing) if matches < self.rows && self.flat_cost() <= self.probing_cost(probing) => {
                ListStrategy::Flat
            }
            Some(probing) => ListStrategy::Lists(probing),
        }
    }

    /// The cost of a search that probes `probes` lists where all rows match.
    pub fn cost(self, probes: usize) -> Cost {
        let column = if self.matches.is_some() { self.rows as f64 * COLUMN_ROW } else { 0.0 };
        match self.choose(probes) {
            ListStrategy::Nothing => Cost { begin: column, ..Cost::default() },
            ListStrategy::Flat => Cost {
                begin: column + self.flat_cost(),
                rows: self.matches.unwrap_or(self.rows) as f64,
                further: 0.0,
            },
            ListStrategy::Lists(probing) => {
                let scan = self.probing_cost(probing);
                let within = self.within(probing);
                let looked_at = within.matches.unwrap_or(within.rows) as f64;
                let rows = (looked_at / SCANNED_PER_RETURNED as f64).max(1.0);
                Cost { begin: column + scan, rows, further: scan / rows + FURTHER_ROW }
            }
        }
    }
}

/// Matching candidates that a walk through a graph keeps at least: those to return, and some to
/// choose from.
const LEAST_EF: f64 = 16.0;

/// Rule *effort under a filter*: if a share `s` of the rows matches, the walk looks at `ef / s^¼`
/// candidates. Of these `ef · s^¾` match. The nearest ten matches are farther than the nearest ten
/// rows, so it must look at more. It needs less than `1 / s` times as many, as it does not stop
/// before it has found enough.
pub fn filtered_ef(ef: usize, share: f64) -> usize {
    let wanted = (ef as f64 * share.powf(0.75)).max(LEAST_EF.min(ef as f64));
    wanted.ceil() as usize
}

/// Rule *index selection*: the way that takes less time.
pub fn choose(facts: GraphFacts, ef: usize) -> GraphStrategy {
    if facts.matches == Some(0) || facts.rows == 0 {
        return GraphStrategy::Nothing;
    }
    // Rule *range*: in no order all rows are listed. In order a walk finds the nearest, and a flat
    // search the rest. A walk that would look at every row does no better.
    if facts.range == Some(Range::All) || facts.range.is_some() && ef >= facts.rows {
        return GraphStrategy::Flat;
    }
    let ef = filtered_ef(ef, facts.share());
    let flat = facts.flat_cost();
    if flat <= facts.graph_cost(ef) {
        GraphStrategy::Flat
    } else {
        GraphStrategy::Graph { ef, budget: budget(facts, flat) }
    }
}

/// How many times as long as a flat search an unfiltered walk may take. A query that is far from
/// everything has a long way. Its bounds are so loose that a flat search compares tens of thousands
/// of rows. On GloVe with ef 250, four queries in ten took 12 ms instead of 1.5.
const UNFILTERED_TIMES: f64 = 4.0;

/// Rule *change of step*: a walk that has taken as long as a flat search would is given up for one.
/// So a wrong estimate, most often of how many rows are requested, costs a few times the time at
/// most. A walk that meets far fewer matches than expected is given up much earlier: they are far
/// from the query.
fn budget(facts: GraphFacts, flat: f64) -> WalkBudget {
    let (share, times) = facts.matches.map_or((0.0, UNFILTERED_TIMES), |_| (facts.share(), 1.0));
    WalkBudget { nodes: (times * flat / facts.each()) as usize, share }
}

/// How segments with lists are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListStrategy {
    /// No row matches.
    Nothing,
    /// Without the lists, every row that matches.
    Flat,
    /// List by list.
    Lists(Probing),
}

/// Rule *probes under a filter*: with a share `s` of the rows matching, `probes / √s` lists. If
/// their matches are far fewer than an even spread would give, the filter goes with the vectors.
/// Farther lists are then probed.
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

/// Share of the expected matches that suffices.
const LEAST_EXPECTED: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::Space;
    use crate::distance::{ElementKind, Metric};
    use crate::search::cost_model::GraphCodes;
    use crate::structure::{GraphLayout, GraphOptions, Quantizer, Rerank};

    const CODES: [GraphCodes; 3] =
        [GraphCodes::None, GraphCodes::Neighbours, GraphCodes::Own { rerank: Rerank::Index }];

    fn facts(dims: u32, codes: GraphCodes, rows: usize, matches: Option<usize>) -> GraphFacts {
        let space = Space { kind: ElementKind::F32, metric: Metric::L2, dims };
        let options =
            GraphOptions { m: 16, ef_construction: 64, layout: GraphLayout::Wide, rerank: Rerank::Index };
        GraphFacts { space, options, codes, rows, matches, range: None }
    }

    fn is_graph(step: GraphStrategy) -> bool {
        matches!(step, GraphStrategy::Graph { .. })
    }

    #[test]
    fn few_rows_are_looked_at_one_by_one() {
        for codes in CODES {
            assert_eq!(choose(facts(768, codes, 1_000_000, Some(0)), 100), GraphStrategy::Nothing);
            assert_eq!(choose(facts(768, codes, 1_000_000, Some(100)), 100), GraphStrategy::Flat);
            assert_eq!(choose(facts(768, codes, 500, None), 100), GraphStrategy::Flat);
            assert!(is_graph(choose(facts(768, codes, 10_000_000, None), 100)));
            assert!(is_graph(choose(facts(768, codes, 10_000_000, Some(5_000_000)), 100)));
        }
    }

    #[test]
    fn ranges_are_looked_through_unless_the_first_few_rows_may_do() {
        let range = |range, codes, ef| {
            choose(GraphFacts { range: Some(range), ..facts(768, codes, 1_000_000, None) }, ef)
        };
        assert_eq!(range(Range::All, CODES[1], 100), GraphStrategy::Flat);
        assert!(is_graph(range(Range::InOrder, CODES[1], 100)));
        assert_eq!(range(Range::All, CODES[0], 100), GraphStrategy::Flat, "every vector is compared");
        assert_eq!(range(Range::InOrder, CODES[0], 1_000_000), GraphStrategy::Flat);
    }

    #[test]
    fn codes_carry_further_than_vectors() {
        assert_eq!(choose(facts(768, CODES[1], 100_000, Some(3_000)), 100), GraphStrategy::Flat);
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
        assert_eq!(choose(Some(0), true), ListStrategy::Nothing);
        assert_eq!(choose(Some(3000), true), ListStrategy::Flat);
        assert!(matches!(choose(Some(3000), false), ListStrategy::Lists(_)), "the table is slower to read");
        assert_eq!(choose(Some(30), false), ListStrategy::Flat);
        assert!(matches!(choose(Some(30_000), true), ListStrategy::Lists(_)));
        assert!(matches!(choose(None, true), ListStrategy::Lists(_)));
        let cost = |matches| facts(Some(matches), true).cost(180).begin;
        assert!(cost(30) < cost(3000));
    }

    #[test]
    fn a_walk_may_take_as_long_as_a_flat_search() {
        let facts = facts(768, CODES[1], 10_000_000, Some(5_000_000));
        let GraphStrategy::Graph { ef, budget: WalkBudget { nodes, .. } } = choose(facts, 100) else {
            panic!("a flat search")
        };
        assert!(nodes as f64 * facts.coded_hop() <= facts.flat_cost());
        assert!(
            nodes as f64 * facts.coded_hop() > facts.graph_cost(ef),
            "it must be able to do what it is chosen for"
        );
    }
}
