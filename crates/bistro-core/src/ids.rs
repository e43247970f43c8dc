//! Identities and units. Each is its own type, so that a uid can never stand where a netuid is meant.

use std::fmt;
use std::str::FromStr;

use blake2::{Blake2b512, Digest as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A subnet's number on the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NetUid(pub u16);

/// A neuron's slot in a subnet. Slots are reused: whoever is judged by more than one block is known by [`Hotkey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uid(pub u16);

/// A block number of the chain: the clock that everybody shares (12 seconds each on Bittensor's networks).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Block(pub u64);

impl Block {
    /// Blocks from `earlier` to `self`; 0 if `earlier` lies ahead.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for NetUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A sr25519 public key that signs for a neuron; shown as an ss58 address with Bittensor's prefix 42.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hotkey(pub [u8; 32]);

/// The ss58 network prefix of Bittensor's addresses.
const SS58_PREFIX: u8 = 42;

/// What is wrong with a text that should be an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is no ss58 address of prefix 42.
    #[error("`{0}` is not an ss58 address of Bittensor (48 characters starting with 5): {1}")]
    Ss58(String, &'static str),
    /// The text is no 32-byte hash in hexadecimal.
    #[error("`{0}` is not a hash: 64 lower-case hexadecimal digits are wanted")]
    Hash(String),
}

impl Hotkey {
    /// The ss58 address, 48 characters.
    pub fn ss58(&self) -> String {
        let mut body = Vec::with_capacity(35);
        body.push(SS58_PREFIX);
        body.extend_from_slice(&self.0);
        body.extend_from_slice(&ss58_checksum(&body));
        bs58::encode(body).into_string()
    }

    /// The first characters of the address, for logs and tables.
    pub fn short(&self) -> String {
        let mut text = self.ss58();
        text.truncate(8);
        text
    }
}

fn ss58_checksum(body: &[u8]) -> [u8; 2] {
    let digest = Blake2b512::new().chain_update(b"SS58PRE").chain_update(body).finalize();
    [digest[0], digest[1]]
}

impl FromStr for Hotkey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = |why| IdError::Ss58(text.chars().take(64).collect(), why);
        if text.len() > 64 {
            return Err(wrong("too long"));
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| wrong("a character outside base58"))?;
        if bytes.len() != 35 || bytes[0] != SS58_PREFIX {
            return Err(wrong("wrong length or network prefix"));
        }
        if ss58_checksum(&bytes[..33]) != bytes[33..] {
            return Err(wrong("the checksum does not fit"));
        }
        let mut key = [0; 32];
        key.copy_from_slice(&bytes[1..33]);
        Ok(Self(key))
    }
}

impl fmt::Display for Hotkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.ss58())
    }
}

impl fmt::Debug for Hotkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A BLAKE3 hash of 32 bytes: the name of a master, a delta's payload, a set of rules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The first 16 hexadecimal digits, as used in object names.
    pub fn hash16(&self) -> String {
        hex::encode(&self.0[..8])
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Hash(text.chars().take(64).collect());
        if text.len() != 64 || text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(wrong());
        }
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).map_err(|_| wrong())?;
        Ok(Self(hash))
    }
}

macro_rules! serde_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(Hotkey, Hash);

#[cfg(test)]
mod tests {
    use super::*;

    /// Substrate's well-known development key `//Alice`.
    const ALICE: &str = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";

    #[test]
    fn ss58_of_alice_is_the_known_one() {
        let key: Hotkey = ALICE.parse().unwrap();
        assert_eq!(hex::encode(key.0), "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d");
        assert_eq!(key.ss58(), ALICE);
    }

    #[test]
    fn a_changed_character_fails_the_checksum() {
        let wrong = ALICE.replace("utQY", "utQZ");
        assert!(matches!(wrong.parse::<Hotkey>(), Err(IdError::Ss58(_, "the checksum does not fit"))));
    }

    #[test]
    fn a_hash_has_one_spelling() {
        let hash = Hash::of(b"bistro");
        assert_eq!(hash.to_string().parse::<Hash>().unwrap(), hash);
        assert!(hash.to_string().to_uppercase().parse::<Hash>().is_err());
        assert!(hash.to_string()[1..].parse::<Hash>().is_err());
    }
}
