//! Where imports by `web-download` get their bytes from.

use crate::image::Body;
use async_trait::async_trait;
use canopy_types::Result;

/// Fetches what a URI names. It decides whom it may ask, and bounds the time; who receives bounds the size.
#[async_trait]
pub trait WebSource: Send + Sync + 'static {
    /// Refuses a URI that would never be asked, with a reason for its author. Asks nobody.
    fn check(&self, uri: &str) -> Result<()>;

    /// The bytes, and how many they are where the server tells it. Every error is fit for the import's task.
    async fn open(&self, uri: &str) -> Result<(Body, Option<u64>)>;
}
