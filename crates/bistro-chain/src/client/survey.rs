//! What a preflight asks: everything that could keep a miner or validator from its work, read at one block before the first
//! transaction.

use std::time::{Duration, Instant};

use bistro_core::ids::{Block, Hotkey, Uid};

use super::read::{SUBTENSOR, value};
use super::{SubtensorChain, commitment, reveal};
use crate::error::ChainError;
use crate::network::Network;

/// The chain, the subnet, and the place of one hotkey in it.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The address in use.
    pub endpoint: String,
    /// How long it took to ask for the newest block.
    pub latency: Duration,
    /// The newest block.
    pub block: Block,
    /// When that block was made, milliseconds since 1970.
    pub block_millis: Option<u64>,
    /// Time between blocks.
    pub block_time: Duration,
    /// Version of the runtime.
    pub runtime: u32,
    /// The public network that this chain is, by its first block.
    pub network: Option<&'static str>,
    /// What registering costs.
    pub registration: Registration,
    /// The hotkey's place, if it has one.
    pub place: Option<Place>,
    /// The version that weights must state.
    pub version_key: Option<u64>,
    /// Blocks until the chain takes another commitment of this hotkey; `None` if it takes one now.
    pub commitment_in: Option<u64>,
}

/// What the subnet says to newcomers. What the runtime does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    /// The price, rao.
    pub price: Option<u64>,
    /// Whether it takes any.
    pub open: Option<bool>,
    /// Registrations of this interval, and how many it aims at.
    pub this_interval: Option<(u16, u16)>,
    /// Slots taken, and slots.
    pub slots: Option<(u16, u16)>,
}

/// A slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub uid: Uid,
    /// When it was taken.
    pub since: Option<u64>,
    /// Blocks for which a newcomer keeps its slot whatever it earns.
    pub immunity: Option<u16>,
}

impl Place {
    /// Blocks of immunity left at `block`.
    pub fn immune_for(&self, block: Block) -> Option<u64> {
        let end = self.since?.saturating_add(u64::from(self.immunity?));
        Some(end.saturating_sub(block.0))
    }
}

impl SubtensorChain {
    /// Surveys chain and subnet for `hotkey`, which would commit a text of `bytes`.
    pub async fn survey(&self, hotkey: &Hotkey, bytes: usize) -> Result<Survey, ChainError> {
        let asked = Instant::now();
        let at = self.link.best().await?;
        let latency = asked.elapsed();
        let what = "surveying the subnet";
        let read = async {
            let (block_millis, registration, place, version_key, commitment_in) = futures::try_join!(
                optional::<_, u64>(&at, "Timestamp", "Now", ()),
                self.registration(&at),
                self.place(&at, hotkey),
                optional::<_, u64>(&at, SUBTENSOR, "WeightsVersionKey", (self.netuid.0,)),
                commitment::full_for(&at, self.netuid, hotkey, bytes),
            )?;
            Ok(Survey {
                endpoint: self.link.endpoint(),
                latency,
                block: Block(at.block_number()),
                block_millis: block_millis.filter(|millis| *millis > 0),
                block_time: self.block_time,
                runtime: at.spec_version(),
                network: Network::name_of(&self.link.genesis()),
                registration,
                place,
                version_key,
                commitment_in,
            })
        };
        self.link.within(what, read).await
    }

    async fn registration(&self, at: &super::link::AtBlock) -> Result<Registration, ChainError> {
        let key = (self.netuid.0,);
        let (price, open, done, wanted, taken, slots) = futures::try_join!(
            optional::<_, u64>(at, SUBTENSOR, "Burn", key),
            optional::<_, bool>(at, SUBTENSOR, "NetworkRegistrationAllowed", key),
            optional::<_, u16>(at, SUBTENSOR, "RegistrationsThisInterval", key),
            optional::<_, u16>(at, SUBTENSOR, "TargetRegistrationsPerInterval", key),
            optional::<_, u16>(at, SUBTENSOR, "SubnetworkN", key),
            optional::<_, u16>(at, SUBTENSOR, "MaxAllowedUids", key),
        )?;
        Ok(Registration { price, open, this_interval: done.zip(wanted), slots: taken.zip(slots) })
    }

    async fn place(&self, at: &super::link::AtBlock, hotkey: &Hotkey) -> Result<Option<Place>, ChainError> {
        let Some(uid) = super::read::uid(at, self.netuid, hotkey).await? else { return Ok(None) };
        let (since, immunity) = futures::try_join!(
            optional::<_, u64>(at, SUBTENSOR, "BlockAtRegistration", (self.netuid.0, uid.0)),
            optional::<_, u16>(at, SUBTENSOR, "ImmunityPeriod", (self.netuid.0,)),
        )?;
        Ok(Some(Place { uid, since, immunity }))
    }
}

/// One storage entry, `None` too where the runtime has no such entry.
async fn optional<K, V>(at: &super::link::AtBlock, pallet: &str, entry: &str, keys: K) -> Result<Option<V>, ChainError>
where
    K: subxt::ext::frame_decode::storage::IntoEncodableValues + subxt::ext::frame_decode::storage::IntoDecodableValues,
    V: subxt::ext::scale_decode::DecodeAsType,
{
    if !reveal::has(at, pallet, entry) {
        return Ok(None);
    }
    value(at, "surveying the subnet", pallet, entry, keys).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn immunity_ends() {
        let place = Place { uid: Uid(3), since: Some(100), immunity: Some(50) };
        assert_eq!([120, 150, 900].map(|block| place.immune_for(Block(block))), [Some(30), Some(0), Some(0)]);
        assert_eq!(Place { since: None, ..place }.immune_for(Block(1)), None);
    }
}
