//! Commitments: a text of the own hotkey, written only when it changed and only when the epoch has room for it.

use std::collections::BTreeMap;

use bistro_core::ids::{Hotkey, NetUid};
use bistro_core::ports::Retry;
use subxt::ext::scale_decode::DecodeAsType;

use super::effect::Effect;
use super::link::AtBlock;
use super::read::{self, value};
use super::{MAX_COMMITMENT_BYTES, SubtensorChain, calls, reveal};
use crate::error::{ChainError, Refusal};

/// Each commitment counts as at least this many bytes of its epoch's room.
const LEAST_CHARGE: u64 = 100;
/// Bytes of an epoch where the runtime does not say.
const USUAL_ROOM: u32 = 3100;

impl SubtensorChain {
    pub(super) async fn read_commitment(&self, hotkey: &Hotkey) -> Result<Option<String>, ChainError> {
        let at = self.link.best().await?;
        self.link.within("reading a commitment", read::commitment(&at, self.netuid, hotkey)).await
    }

    pub(super) async fn read_commitments(
        &self,
        hotkeys: &[Hotkey],
    ) -> Result<BTreeMap<Hotkey, Option<String>>, ChainError> {
        let at = self.link.best().await?;
        let read = read::commitments(&at, self.link.rpc(), self.netuid, hotkeys);
        self.link.within("reading commitments", read).await
    }

    pub(super) async fn send_commitment(&self, text: &str) -> Result<(), ChainError> {
        let call = "set_commitment";
        if text.is_empty() || text.len() > MAX_COMMITMENT_BYTES {
            let why = format!("a commitment has 1 to {MAX_COMMITMENT_BYTES} bytes, this one has {}", text.len());
            return Err(ChainError::Unsendable { call, why });
        }
        let key = self.key.as_ref().ok_or(ChainError::NoKey { call })?;
        let own = key.public();
        let at = self.link.best().await?;
        let before = self.link.within("reading a commitment", read::commitment(&at, self.netuid, &own)).await?;
        if before.as_deref() == Some(text) {
            return Ok(());
        }
        if let Some(blocks) = self.link.within("reading the room", full_for(&at, self.netuid, &own, text.len())).await?
        {
            // The chain would refuse it in a block, and not say for how long.
            let refusal = Refusal { retry: Retry::After(blocks), ..Refusal::named("SpaceLimitExceeded") };
            return Err(ChainError::Refused { call, refusal });
        }
        let sent = self.send(key, call, &calls::set_commitment(self.netuid, text)).await;
        let Err(error @ ChainError::Unacknowledged { .. }) = sent else { return sent.map(drop) };
        self.unless_it_shows(error, &Effect::Commitment { own, text }).await
    }
}

/// The wanted fields of `Commitments.UsedSpaceOf`.
#[derive(DecodeAsType)]
#[decode_as_type(crate_path = "subxt::ext::scale_decode")]
struct Usage {
    last_epoch: u64,
    used_space: u64,
}

/// Blocks until the chain takes `bytes` more of `hotkey`, if this epoch has no room for them. `None` too where that cannot be told: the
/// chain decides.
pub(super) async fn full_for(
    at: &AtBlock,
    netuid: NetUid,
    hotkey: &Hotkey,
    bytes: usize,
) -> Result<Option<u64>, ChainError> {
    let (what, pallet) = ("reading the room for commitments", "Commitments");
    if !reveal::has(at, pallet, "UsedSpaceOf") || !reveal::has(at, pallet, "MaxSpace") {
        return Ok(None);
    }
    let (usage, room, epochs) = futures::try_join!(
        value::<_, Usage>(at, what, pallet, "UsedSpaceOf", (netuid.0, hotkey.0)),
        value::<_, u32>(at, what, pallet, "MaxSpace", ()),
        reveal::epochs(at, netuid),
    )?;
    let (Some(usage), Some((epoch, blocks))) = (usage, epochs.of_next_block()) else { return Ok(None) };
    let charge = LEAST_CHARGE.max(bytes as u64);
    let full = usage.used_space.saturating_add(charge) > u64::from(room.unwrap_or(USUAL_ROOM));
    Ok((full && usage.last_epoch == epoch).then_some(blocks.max(1)))
}
