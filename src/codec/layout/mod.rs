//! Where codes and the numbers beside them lie in bytes.

pub mod block;
pub mod bytes;
pub mod centroids;
pub mod fine;
pub mod row;
pub mod spill;

/// Where the codes of an item lie in its bytes: of one row or node, or of a block of 32.
pub trait CodeLayout: Copy {
    /// A query as it is compared with the codes.
    type Query;
    /// What is known of the query and of the point that the codes are against.
    type Centre;
    /// The estimated scores of the item, and how far each may be off.
    type Estimate<'a>;

    /// Bytes of an item.
    fn bytes(self) -> usize;

    /// `None` if the bytes are no item.
    fn estimate<'a>(
        self,
        bytes: &'a [u8],
        query: &Self::Query,
        centre: Self::Centre,
    ) -> Option<Self::Estimate<'a>>;
}

/// A code for each row by itself, whatever its list.
pub trait RowCode: Send + Sync {
    /// Bytes of a code.
    fn bytes(&self) -> usize;

    /// Encodes a vector (see [`crate::codec::encoder::widen`]).
    fn encode(&self, vector: &[f32]) -> Vec<u8>;

    /// A query that is compared with codes.
    fn query(&self, vector: &[f32]) -> Box<dyn RowQuery>;
}

/// A query that is compared with the codes of rows.
pub trait RowQuery {
    /// The estimated score of a row and a bound on its error; `None` if the bytes are no code.
    fn estimate(&self, bytes: &[u8]) -> Option<(f32, f32)>;
}
