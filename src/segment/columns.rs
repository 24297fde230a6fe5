//! The filter columns of a sealed segment: written, read row by row, and tested against conditions.

use crate::filter::column::{self, BLOCK_ROWS, Coding, Zone};
use crate::filter::{self, Bitset, Condition, Table};
use crate::storage::draft::Draft;
use crate::storage::manifest::Column;
use crate::storage::part::Layout;
use crate::storage::part_reader::PartReader;
use crate::storage::part_writer::PartWriter;
use crate::storage::sealed::SealedRef;
use crate::structure::PageKind;

/// Bytes of a dictionary's entry.
const ENTRY: usize = size_of::<u64>();
/// Bytes of a zone.
const ZONE: usize = 2 * size_of::<u64>();

/// Writes the columns of rows in the order of their ordinals: for each a tape of dictionary, zones
/// and codes.
pub fn write(draft: &mut Draft, columns: usize, rows: &Table) -> Vec<Column> {
    let write = |column| {
        let encoded = column::encode(rows.column(column));
        let bytes = encoded.dictionary.len() * ENTRY + encoded.zones.len() * ZONE + encoded.codes.len();
        let mut writer = PartWriter::new(draft, PageKind::Column, Layout::Tape, bytes as u64);
        encoded.dictionary.iter().for_each(|key| writer.push(&key.to_ne_bytes()));
        for zone in &encoded.zones {
            writer.push(&zone.least.to_ne_bytes());
            writer.push(&zone.greatest.to_ne_bytes());
        }
        writer.push(&encoded.codes);
        Column { coding: encoded.coding, part: writer.finish() }
    };
    (0..columns).map(write).collect()
}

/// Reads one column. Holds a pin, so it must not outlive the callback in which it was made.
struct ColumnReader<'a> {
    coding: Coding,
    rows: usize,
    tape: PartReader<'a>,
}

impl<'a> ColumnReader<'a> {
    fn new(sealed: SealedRef<'a>, column: &'a Column) -> Self {
        let tape = sealed.part(&column.part, PageKind::Column);
        Self { coding: column.coding, rows: sealed.rows as usize, tape }
    }

    fn dictionary(&mut self) -> Vec<u64> {
        words(self.tape.tape(0, self.coding.entries() * ENTRY))
    }

    fn zones(&mut self) -> Vec<Zone> {
        let at = self.coding.entries() * ENTRY;
        let zones = words(self.tape.tape(at as u64, self.rows.div_ceil(BLOCK_ROWS) * ZONE));
        zones.as_chunks().0.iter().map(|&[least, greatest]| Zone { least, greatest }).collect()
    }

    /// The codes of `count` rows from `first` on.
    fn codes(&mut self, first: usize, count: usize) -> &[u8] {
        let before = self.coding.entries() * ENTRY + self.rows.div_ceil(BLOCK_ROWS) * ZONE;
        let width = self.coding.width();
        self.tape.tape((before + first * width) as u64, count * width)
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|&word| u64::from_ne_bytes(word)).collect()
}

/// The rows of a segment that may meet all conditions, dead ones included.
pub fn matches(sealed: SealedRef, conditions: &[Condition]) -> Bitset {
    let mut rows = Bitset::full(sealed.rows as usize);
    for condition in conditions {
        let mut reader = reader_of(sealed, condition.column);
        let matcher = reader.coding.matcher(&reader.dictionary(), &condition.test);
        let width = reader.coding.width();
        for (block, zone) in reader.zones().into_iter().enumerate() {
            let first = block * BLOCK_ROWS;
            let block = first..rows.rows().min(first + BLOCK_ROWS);
            match matcher.of_all(zone) {
                Some(true) => {}
                Some(false) => rows.clear(block),
                None if !rows.has_any_in(block.clone()) => {}
                None => matcher.retain(&mut rows, first, reader.codes(first, block.len()), width),
            }
        }
    }
    rows
}

fn reader_of(sealed: SealedRef, column: usize) -> ColumnReader {
    let Some(column) = sealed.segment().columns.get(column) else {
        sealed.corrupt(format!("It has no filter column {}.", column + 1))
    };
    ColumnReader::new(sealed, column)
}

/// Reads rows' attributes by ordinal.
///
/// Holds pins, so it must not outlive the callback in which it was made.
pub struct StoredColumns<'a> {
    columns: Vec<(ColumnReader<'a>, Vec<u64>)>,
}

impl<'a> StoredColumns<'a> {
    pub fn new(sealed: SealedRef<'a>) -> Self {
        let open = |column| {
            let mut reader = ColumnReader::new(sealed, column);
            let dictionary = reader.dictionary();
            (reader, dictionary)
        };
        Self { columns: sealed.segment().columns.iter().map(open).collect() }
    }

    /// The attributes of a row.
    pub fn attributes(&mut self, row: u32) -> Vec<u64> {
        let keys = self.columns.iter_mut().map(|(reader, dictionary)| {
            let coding = reader.coding;
            coding.key(dictionary, coding.read(reader.codes(row as usize, 1)))
        });
        filter::attributes(keys)
    }
}
