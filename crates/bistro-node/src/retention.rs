//! What stays in the own bucket: the newest objects of a kind, and whatever is referenced.

use bistro_core::ports::PortError;

use crate::Parts;

/// Removes the objects below `prefix` that `number` numbers, but the `newest` highest ones and those that `keep` names.
/// Dropped or failing, it has removed some of them; repeating it goes on.
pub(crate) async fn keep_newest(
    parts: &Parts,
    prefix: &str,
    number: impl Fn(&str) -> Option<u64>,
    newest: usize,
    keep: impl Fn(u64, &str) -> bool,
) -> Result<(), PortError> {
    let stored = parts.own.list(prefix).await?;
    let numbered = |key: String| Some((number(key.strip_prefix(prefix)?)?, key));
    let mut stored: Vec<(u64, String)> = stored.into_iter().filter_map(numbered).collect();
    stored.sort();
    let old = stored.len().saturating_sub(newest);
    for (number, key) in &stored[..old] {
        if !keep(*number, key) {
            parts.own.delete(key).await?;
        }
    }
    Ok(())
}
