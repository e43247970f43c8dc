//! The local chain's randomness beacon, in the place of drand's quicknet.
//!
//! Commitments are encrypted to a beacon's public key and open with its signature of a round. Quicknet's secret is nobody's, and a
//! local chain has no way to quicknet, so it signs rounds itself, with a secret that is a constant: whoever reads this file can open
//! every commitment on every local chain. The scheme is quicknet's, so that a client needs another key and nothing else.

use ark_bls12_381::{Fr, G1Projective, G2Affine, g1};
use ark_ec::{
    AffineRepr as _, CurveGroup as _,
    hashing::{HashToCurve as _, curve_maps::wb::WBMap, map_to_curve_hasher::MapToCurveBasedHasher},
};
use ark_ff::{PrimeField as _, field_hashers::DefaultFieldHasher};
use ark_serialize::CanonicalSerialize;
use bistro_chain::timelock::{Beacon, QUICKNET};
use sha2::{Digest as _, Sha256};

/// Domain of drand's hash of a round into G1.
const DOMAIN: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_";
/// What the secret is made from.
const SEED: &[u8] = b"the local chain's beacon keeps no secret";

/// The local beacon, with `period` seconds between two rounds, counted from quicknet's first.
pub fn beacon(period: u32) -> Beacon {
    let public = compressed(&(G2Affine::generator() * secret()).into_affine());
    Beacon { public_key: public, genesis: QUICKNET.genesis, period: u64::from(period.max(1)) }
}

/// The newest round at `now`, milliseconds since 1970; 0 before the first.
pub fn round_at(genesis: u64, period: u64, now: u64) -> u64 {
    (now / 1000).checked_sub(genesis).map_or(0, |since| since / period.max(1) + 1)
}

/// The local beacon's signature of `round`: a compressed point of G1.
pub fn sign(round: u64) -> [u8; 48] {
    type Hasher = MapToCurveBasedHasher<G1Projective, DefaultFieldHasher<Sha256, 128>, WBMap<g1::Config>>;
    let message = Sha256::digest(round.to_be_bytes());
    let point = Hasher::new(DOMAIN).and_then(|hasher| hasher.hash(&message));
    let point = point.expect("32 bytes hash to a point of G1 under these parameters; qed");
    compressed(&(point * secret()).into_affine())
}

fn secret() -> Fr {
    Fr::from_be_bytes_mod_order(&Sha256::digest(SEED))
}

/// The point's compressed bytes, of which there are `N`.
fn compressed<const N: usize>(point: &impl CanonicalSerialize) -> [u8; N] {
    let mut bytes = [0; N];
    point.serialize_compressed(&mut bytes[..]).expect("a compressed point has this size; qed");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use bistro_chain::timelock::{decrypt, encrypt};

    #[test]
    fn the_signature_of_its_round_opens_what_is_encrypted_to_the_key() {
        let sealed = encrypt(&beacon(3), 7, b"weights", &mut rand::rng()).unwrap();
        assert_eq!(decrypt(&sealed, &sign(7)).unwrap(), b"weights");
        decrypt(&sealed, &sign(8)).expect_err("another round's signature");
        let real = encrypt(&QUICKNET, 7, b"weights", &mut rand::rng()).unwrap();
        decrypt(&real, &sign(7)).expect_err("quicknet has another key");
    }

    #[test]
    fn rounds_are_counted_as_quicknet_counts_them() {
        // Round 1000 of quicknet was published 999 periods after its genesis.
        let at = |seconds: u64| round_at(QUICKNET.genesis, QUICKNET.period, (QUICKNET.genesis + seconds) * 1000);
        assert_eq!((at(0), at(2), at(3), at(2997)), (1, 1, 2, 1000));
        assert_eq!(round_at(QUICKNET.genesis, 3, 5_000), 0, "before the first");
    }
}
