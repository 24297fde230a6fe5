//! The codebook of an index: its centroids and their codes on pages.

use crate::cluster::Matrix;
use crate::cluster::centroids::Centroids;
use crate::codec::encoder::CodedQuery;
use crate::codec::rotation::Rotation;
use crate::memory;
use crate::pg::error::Problem;
use crate::storage::draft::Draft;
use crate::storage::manifest::Codebook;
use crate::storage::meta::Meta;
use crate::storage::pages::Pages;
use crate::storage::part_reader::PartReader;
use crate::storage::part_writer::write_rows;
use crate::storage::parts::ListParts;
use crate::storage::snapshot::Snapshot;
use crate::structure::PageKind;
use std::sync::Arc;

/// The lists that rows are assigned to.
#[derive(Clone)]
pub struct Lists {
    /// Id of the codebook; 0 for one list around the origin.
    pub codebook: u32,
    pub centroids: Arc<Centroids>,
    /// The codebook, if it was just written and is in no manifest yet.
    pub new: Option<Codebook>,
}

impl Lists {
    /// One list for everything, around the origin: for rows that are too few to have centroids of
    /// their own.
    pub fn origin(dims: usize) -> Self {
        let origin = Matrix { dims, numbers: vec![0.0; dims] };
        Self {
            codebook: 0,
            centroids: Arc::new(Centroids::unshifted(origin, &Rotation::new(0, dims))),
            new: None,
        }
    }

    /// Writes centroids that were found among `rows` rows; the caller adds the codebook to the
    /// manifest.
    pub fn create(draft: &mut Draft, centroids: Centroids, rows: u64) -> Self {
        let codebook = write(&centroids, draft, rows);
        Self { codebook: codebook.id, centroids: Arc::new(centroids), new: Some(codebook) }
    }

    /// The lists of an index that has centroids.
    pub fn read(pages: &dyn Pages, snapshot: &Snapshot) -> Option<Self> {
        snapshot.manifest.codebook().map(|codebook| Self::of(pages, snapshot, codebook))
    }

    /// The lists of one of an index's codebooks.
    pub fn of(pages: &dyn Pages, snapshot: &Snapshot, codebook: &Codebook) -> Self {
        let dims = snapshot.meta.space.dims as usize;
        let rotation = Rotation::new(snapshot.meta.seed, dims);
        let centroids = read(pages, codebook, dims, &rotation);
        Self { codebook: codebook.id, centroids: Arc::new(centroids), new: None }
    }
}

/// Reads an index's centroids.
fn read(pages: &dyn Pages, codebook: &Codebook, dims: usize, rotation: &Rotation) -> Centroids {
    let mut reader = CentroidReader::new(pages, codebook, dims);
    let mut vectors = Matrix::new(dims);
    memory::reserve(&mut vectors.numbers, codebook.lists as usize * dims, "centroids");
    for list in 0..codebook.lists {
        vectors.numbers.extend_from_slice(reader.vector(list));
    }
    Centroids::with_shift(reader.shift().to_vec(), vectors, rotation)
}

/// Writes the codebook's pages: centroids, code centre and shift, then the centroids' codes. The
/// caller adds it to the manifest.
fn write(centroids: &Centroids, draft: &mut Draft, rows_of_index: u64) -> Codebook {
    let lists = centroids.count() as u32;
    let row_bytes = size_of_val(centroids.vector(0));
    let rows = centroids.rows().map(bytemuck::cast_slice::<f32, u8>);
    let vectors = write_rows(draft, PageKind::Centroids, row_bytes, u64::from(lists) + 2, rows);
    let (blocks, bytes) = centroids.blocks();
    let codes = write_rows(draft, PageKind::ListCodes, bytes, blocks.len() as u64, blocks);
    Codebook { id: draft.id(), lists, centroids: vectors, codes, rows: rows_of_index }
}

/// Reads centroids one by one.
///
/// Holds a pin, so it must not outlive the callback in which it was made.
pub struct CentroidReader<'a> {
    pages: &'a dyn Pages,
    codebook: &'a Codebook,
    part: PartReader<'a>,
    dims: usize,
}

impl<'a> CentroidReader<'a> {
    pub fn new(pages: &'a dyn Pages, codebook: &'a Codebook, dims: usize) -> Self {
        let part = PartReader::new(pages, &codebook.centroids, PageKind::Centroids, codebook.id);
        Self { pages, codebook, part, dims }
    }

    /// The centroids of a segment's lists, if it has more than the one around zero.
    pub fn of(pages: &'a dyn Pages, snapshot: &'a Snapshot, parts: &ListParts) -> Option<Self> {
        let codebook = snapshot.codebook_of(parts)?;
        Some(Self::new(pages, codebook, snapshot.meta.space.dims as usize))
    }

    /// A list's centroid.
    pub fn vector(&mut self, list: u32) -> &[f32] {
        let (pages, dims) = (self.pages, self.dims);
        numbers(pages, dims, self.part.row(list.into(), dims * size_of::<f32>()))
    }

    /// Calls `visit` with the centroids of `lists`, while the next ones are loaded from memory.
    pub fn for_each(&mut self, lists: &[u32], mut visit: impl FnMut(u32, &[f32])) {
        let (pages, dims) = (self.pages, self.dims);
        let bytes = dims * size_of::<f32>();
        self.part.for_each_row(lists, bytes, |list, row| visit(list, numbers(pages, dims, row)));
    }

    /// What the centroids' codes are against.
    pub fn code_centre(&mut self) -> &[f32] {
        self.vector(self.codebook.lists)
    }

    /// What is subtracted from vectors before they are rotated.
    fn shift(&mut self) -> &[f32] {
        self.vector(self.codebook.lists + 1)
    }

    /// The query for the codebook's codes, less the shift if there is one.
    pub fn shifted(&mut self, meta: &Meta, query: &CodedQuery) -> Option<CodedQuery> {
        query.shifted(self.shift(), meta.seed)
    }
}

/// A centroid's numbers.
fn numbers<'r>(pages: &dyn Pages, dims: usize, row: &'r [u8]) -> &'r [f32] {
    bytemuck::try_cast_slice(row).ok().filter(|vector| vector.len() == dims).unwrap_or_else(|| {
        Problem::corrupt(format!("a centroid of index \"{}\" is corrupted", pages.name())).raise()
    })
}
