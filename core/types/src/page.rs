//! Paging by key and id.

/// A page of a list: `limit` rows after the row with id `marker`, in the list's own order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most [`MAX_PAGE`].
    pub limit: Option<u32>,
    pub marker: Option<String>,
}

pub const MAX_PAGE: u32 = 1_000;

impl Page {
    pub fn size(&self) -> i64 {
        i64::from(self.limit.unwrap_or(MAX_PAGE).min(MAX_PAGE))
    }
}
