//! Pages into one batch, whatever becomes of single ones.

use std::sync::Arc;

use bistro_core::pages::PageId;
use bistro_core::ports::{Pages, PortError, Retry};
use bistro_core::tokens::TokenBatch;

use crate::Parts;
use crate::parts::patiently;

/// Pages drawn in place of others before the dataset itself counts as broken.
const REPLACEMENTS: usize = 16;

/// All of `wanted` in one batch. A page that cannot be had for good (a row too long, a file that was damaged) is told, and
/// replaced by what `another` draws; `wanted` then names the pages that were used. What may come back is waited for.
pub async fn gather(
    parts: &Parts,
    pages: &Arc<dyn Pages>,
    wanted: &mut [PageId],
    mut another: impl FnMut() -> Option<PageId>,
) -> Result<TokenBatch, PortError> {
    let mut all = TokenBatch::default();
    let mut replaced = 0;
    for page in wanted {
        let batch = loop {
            match patiently(parts, "reading a page", || pages.page(page)).await {
                Ok(batch) => break batch,
                Err(error) if error.retry == Retry::Never && replaced < REPLACEMENTS => {
                    let Some(next) = another() else { return Err(error) };
                    tracing::warn!(%error, instead = ?next, "a page is left out, and another one taken");
                    (*page, replaced) = (next, replaced + 1);
                }
                Err(error) => return Err(error),
            }
        };
        all.append(&batch);
    }
    Ok(all)
}
