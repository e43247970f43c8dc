//! A sr25519 key: signs manifests ([`bistro_core::ports::Identity`]) and transactions (subxt's `Signer`).

use std::fmt;

use bistro_core::ids::Hotkey;
use bistro_core::ports::Identity;
use sp_core::crypto::Pair as _;
use sp_core::sr25519;
use subxt::config::SubstrateConfig;
use subxt::transactions::Signer;
use subxt::utils::{AccountId32, MultiSignature};

/// A sr25519 key pair. The secret half is wiped when it is dropped, and never printed.
#[derive(Clone)]
pub struct Keypair(sr25519::Pair);

/// A text or bytes that are no secret key. Says what was wanted and never what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a secret key: wanted {0}")]
pub struct SecretError(&'static str);

impl Keypair {
    /// The key of a secret URI: a mnemonic or `0x` seed, with derivation junctions and password as Substrate writes them
    /// (`//Alice`, `word word …//hard/soft///password`).
    pub fn from_uri(uri: &str) -> Result<Self, SecretError> {
        let wanted = "a secret URI (a mnemonic, a 0x seed or `//Name`)";
        sr25519::Pair::from_string(uri, None).map(Self).map_err(|_| SecretError(wanted))
    }

    /// The key of 12 to 24 BIP-39 words, without a password.
    pub fn from_phrase(phrase: &str) -> Result<Self, SecretError> {
        let wanted = "a mnemonic of 12, 15, 18, 21 or 24 English words";
        sr25519::Pair::from_phrase(phrase, None).map(|(pair, _)| Self(pair)).map_err(|_| SecretError(wanted))
    }

    /// The key of 32 bytes of seed or of 64 bytes of expanded secret (a wallet file's `privateKey`).
    pub fn from_bytes(secret: &[u8]) -> Result<Self, SecretError> {
        let wanted = "32 bytes of seed, or 64 bytes of expanded secret key";
        sr25519::Pair::from_seed_slice(secret).map(Self).map_err(|_| SecretError(wanted))
    }

    /// The public half.
    pub fn public(&self) -> Hotkey {
        Hotkey(self.0.public().0)
    }

    /// The 64 bytes of the expanded secret key, for a wallet file.
    pub(crate) fn secret(&self) -> zeroize::Zeroizing<Vec<u8>> {
        zeroize::Zeroizing::new(self.0.to_raw_vec())
    }
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keypair({})", self.public())
    }
}

impl Identity for Keypair {
    fn hotkey(&self) -> Hotkey {
        self.public()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).0
    }

    fn verify(&self, hotkey: &Hotkey, message: &[u8], signature: &[u8; 64]) -> bool {
        verify(hotkey, message, signature)
    }
}

/// Whether `signature` over `message` is `hotkey`'s (sr25519, context `substrate`).
pub fn verify(hotkey: &Hotkey, message: &[u8], signature: &[u8; 64]) -> bool {
    let signature = sr25519::Signature::from_raw(*signature);
    sr25519::Pair::verify(&signature, message, &sr25519::Public::from_raw(hotkey.0))
}

impl Signer<SubstrateConfig> for Keypair {
    fn account_id(&self) -> AccountId32 {
        AccountId32(self.public().0)
    }

    fn sign(&self, payload: &[u8]) -> MultiSignature {
        MultiSignature::Sr25519(self.0.sign(payload).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alice_is_the_known_key() {
        let alice = Keypair::from_uri("//Alice").unwrap();
        assert_eq!(alice.public().ss58(), "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY");
        assert_eq!(format!("{alice:?}"), "Keypair(5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY)");
    }

    #[test]
    fn a_signature_is_bound_to_message_and_key() {
        let (alice, bob) = (Keypair::from_uri("//Alice").unwrap(), Keypair::from_uri("//Bob").unwrap());
        let mut signature = Identity::sign(&alice, b"delta");
        assert!(bob.verify(&alice.public(), b"delta", &signature));
        assert!(!bob.verify(&alice.public(), b"delts", &signature));
        assert!(!bob.verify(&bob.public(), b"delta", &signature));
        assert!(!bob.verify(&Hotkey([0xff; 32]), b"delta", &signature), "a key that is no point of the curve");
        signature[63] ^= 1;
        assert!(!bob.verify(&alice.public(), b"delta", &signature));
    }

    #[test]
    fn a_refused_secret_is_not_repeated_in_the_message() {
        let error = Keypair::from_uri("my secret words").unwrap_err();
        assert!(!error.to_string().contains("secret words"));
    }
}
