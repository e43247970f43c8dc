//! Timelock encryption: what is encrypted for a round of a drand beacon can be read by everybody once the beacon has
//! published that round's signature, and by nobody before.
//!
//! Boneh-Franklin identity-based encryption over BLS12-381 with signatures in G1, byte for byte as subtensor's runtime and
//! Bittensor's own tools have it: the identity is the round, a fresh AES-256-GCM key is encrypted to it, and the text
//! with that key.
//!
//! # Layout
//! - here: beacon, payload, encryption and decryption
//! - [`reveal`]: the round at which a subnet reveals what is committed now

use aes_gcm::aead::Aead as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use ark_bls12_381::{Bls12_381, Fr, G1Affine, G1Projective, G2Affine, g1};
use ark_ec::hashing::HashToCurve as _;
use ark_ec::hashing::curve_maps::wb::WBMap;
use ark_ec::hashing::map_to_curve_hasher::MapToCurveBasedHasher;
use ark_ec::pairing::Pairing as _;
use ark_ec::{AffineRepr as _, CurveGroup as _};
use ark_ff::PrimeField as _;
use ark_ff::field_hashers::DefaultFieldHasher;
use ark_serialize::{CanonicalDeserialize as _, CanonicalSerialize as _};
use bistro_core::ids::{Hotkey, Uid};
use rand::CryptoRng;
use sha2::{Digest as _, Sha256};
use subxt::ext::codec::Encode as _;
use zeroize::Zeroizing;

pub mod reveal;

/// The longest ciphertext that the chain takes, bytes.
pub const MAX_CIPHERTEXT_BYTES: usize = 5000;

/// Domain of drand's hash of a round into G1.
const DOMAIN: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_";
/// The cipher's name, at the end of every ciphertext.
const SUITE: &[u8] = b"AES_GCM_";
const POINT_BYTES: usize = 96;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// A drand network: who signs the rounds, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// Its public key: a compressed point of G2.
    pub public_key: [u8; POINT_BYTES],
    /// When round 1 was published, seconds since the Unix epoch.
    pub genesis: u64,
    /// Seconds between two rounds, not 0.
    pub period: u64,
}

/// drand's quicknet, by which subtensor reveals: chain `52db9ba7…84e971`.
pub const QUICKNET: Beacon = Beacon {
    public_key: [
        0x83, 0xcf, 0x0f, 0x28, 0x96, 0xad, 0xee, 0x7e, 0xb8, 0xb5, 0xf0, 0x1f, 0xca, 0xd3, 0x91, 0x22, 0x12, 0xc4,
        0x37, 0xe0, 0x07, 0x3e, 0x91, 0x1f, 0xb9, 0x00, 0x22, 0xd3, 0xe7, 0x60, 0x18, 0x3c, 0x8c, 0x4b, 0x45, 0x0b,
        0x6a, 0x0a, 0x6c, 0x3a, 0xc6, 0xa5, 0x77, 0x6a, 0x2d, 0x10, 0x64, 0x51, 0x0d, 0x1f, 0xec, 0x75, 0x8c, 0x92,
        0x1c, 0xc2, 0x2b, 0x0e, 0x17, 0xe6, 0x3a, 0xaf, 0x4b, 0xcb, 0x5e, 0xd6, 0x63, 0x04, 0xde, 0x9c, 0xf8, 0x09,
        0xbd, 0x27, 0x4c, 0xa7, 0x3b, 0xab, 0x4a, 0xf5, 0xa6, 0xe9, 0xc7, 0x6a, 0x4b, 0xc0, 0x9e, 0x76, 0xea, 0xe8,
        0x99, 0x1e, 0xf5, 0xec, 0xe4, 0x5a,
    ],
    genesis: 1_692_803_367,
    period: 3,
};

/// What cannot be encrypted or decrypted, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timelock: {0}")]
pub struct TimelockError(&'static str);

/// The SCALE bytes of subtensor's `WeightsTlockPayload`: who sets which weights. The hotkey inside keeps others from
/// committing a copy of the ciphertext as their own.
pub fn weights_payload(hotkey: &Hotkey, weights: &[(Uid, u16)], version_key: u64) -> Vec<u8> {
    let mut bytes = hotkey.0.to_vec().encode();
    bytes.extend(legacy_weights_payload(weights, version_key));
    bytes
}

/// The same for runtimes of 2025, which know no hotkey inside.
pub fn legacy_weights_payload(weights: &[(Uid, u16)], version_key: u64) -> Vec<u8> {
    let (uids, values): (Vec<u16>, Vec<u16>) = weights.iter().map(|&(uid, weight)| (uid.0, weight)).unzip();
    (uids, values, version_key).encode()
}

/// Encrypts `text` until `beacon` publishes `round`. `random` has to be unpredictable: who guesses it reads the text.
pub fn encrypt(
    beacon: &Beacon,
    round: u64,
    text: &[u8],
    random: &mut impl CryptoRng,
) -> Result<Vec<u8>, TimelockError> {
    let mut sigma = Zeroizing::new([0; KEY_BYTES]);
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let mut nonce = [0; NONCE_BYTES];
    random.fill_bytes(&mut *sigma);
    random.fill_bytes(&mut *key);
    random.fill_bytes(&mut nonce);

    let public = G2Affine::deserialize_compressed(&beacon.public_key[..])
        .map_err(|_| TimelockError("the beacon's public key is no point of G2"))?;
    let r = exponent(&sigma, &key);
    let point = (G2Affine::generator() * r).into_affine();
    let shared = pairing_hash(&identity(round)?, &(public * r).into_affine())?;
    let sealed = Aes256Gcm::new((&*key).into())
        .encrypt((&nonce).into(), text)
        .map_err(|_| TimelockError("the text is too long for AES-GCM"))?;

    let mut bytes = Vec::with_capacity(POINT_BYTES + 2 * (8 + KEY_BYTES) + 24 + sealed.len() + NONCE_BYTES + 16);
    point.serialize_compressed(&mut bytes).map_err(|_| TimelockError("a point did not serialise"))?;
    put(&mut bytes, &xor(&sigma, &shared));
    put(&mut bytes, &xor(&key, &Sha256::digest(*sigma).into()));
    let mut body = Vec::with_capacity(16 + sealed.len() + NONCE_BYTES);
    put(&mut body, &sealed);
    put(&mut body, &nonce);
    put(&mut bytes, &body);
    put(&mut bytes, SUITE);
    Ok(bytes)
}

/// Decrypts with the beacon's signature of the round, 48 bytes. A ciphertext that was tampered with, or a signature of another
/// round, is an error.
pub fn decrypt(ciphertext: &[u8], signature: &[u8]) -> Result<Vec<u8>, TimelockError> {
    let cut = TimelockError("the ciphertext is cut off or no ciphertext");
    let (point, rest) = ciphertext.split_at_checked(POINT_BYTES).ok_or(cut)?;
    let (v, rest) = take(rest).ok_or(cut)?;
    let (w, rest) = take(rest).ok_or(cut)?;
    let (body, rest) = take(rest).ok_or(cut)?;
    let (sealed, inner) = take(body).ok_or(cut)?;
    let (nonce, _) = take(inner).ok_or(cut)?;
    let nonce = <&[u8; NONCE_BYTES]>::try_from(nonce).map_err(|_| cut)?;
    let (suite, _) = take(rest).ok_or(cut)?;
    let (Ok(v), Ok(w)) = (<&[u8; KEY_BYTES]>::try_from(v), <&[u8; KEY_BYTES]>::try_from(w)) else { return Err(cut) };
    if suite != SUITE {
        return Err(TimelockError("another cipher than AES-GCM"));
    }
    let point = G2Affine::deserialize_compressed(point).map_err(|_| cut)?;
    let signature =
        G1Affine::deserialize_compressed(signature).map_err(|_| TimelockError("the signature is no point of G1"))?;

    let sigma = Zeroizing::new(xor(v, &pairing_hash(&signature, &point)?));
    let key = Zeroizing::new(xor(w, &Sha256::digest(*sigma).into()));
    if (G2Affine::generator() * exponent(&sigma, &key)).into_affine() != point {
        return Err(TimelockError("it is encrypted for another round"));
    }
    let cipher = Aes256Gcm::new((&*key).into());
    cipher.decrypt(nonce.into(), sealed).map_err(|_| TimelockError("the ciphertext was changed"))
}

/// The point of G1 that a beacon multiplies by its secret key to sign `round`.
fn identity(round: u64) -> Result<G1Affine, TimelockError> {
    type Hasher = MapToCurveBasedHasher<G1Projective, DefaultFieldHasher<Sha256, 128>, WBMap<g1::Config>>;
    let message = Sha256::digest(round.to_be_bytes());
    let hashed = Hasher::new(DOMAIN).and_then(|hasher| hasher.hash(&message));
    hashed.map_err(|_| TimelockError("the round has no point of G1"))
}

/// The exponent that binds the encrypted key to its point.
fn exponent(sigma: &[u8; KEY_BYTES], key: &[u8; KEY_BYTES]) -> Fr {
    Fr::from_be_bytes_mod_order(&Sha256::new().chain_update(sigma).chain_update(key).finalize())
}

/// SHA-256 of the compressed pairing.
fn pairing_hash(left: &G1Affine, right: &G2Affine) -> Result<[u8; KEY_BYTES], TimelockError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(576));
    let pairing = Bls12_381::pairing(left, right);
    pairing.serialize_compressed(&mut *bytes).map_err(|_| TimelockError("a pairing did not serialise"))?;
    Ok(Sha256::digest(&*bytes).into())
}

fn xor(left: &[u8; KEY_BYTES], right: &[u8; KEY_BYTES]) -> [u8; KEY_BYTES] {
    std::array::from_fn(|n| left[n] ^ right[n])
}

/// Appends bytes behind their length, u64 little-endian.
fn put(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend((bytes.len() as u64).to_le_bytes());
    into.extend(bytes);
}

/// The reverse of [`put`]: the bytes, and what follows them.
fn take(from: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = from.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha20Rng;

    use super::*;

    /// quicknet's published signature of round 1000.
    const SIGNATURE: &str =
        "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39";
    const ROUND: u64 = 1000;
    const BY_DRAND: &str = "90833fd1d6006d7d9f59d8ea967f2bc1723aad6f98af7f90df6f2df092885eff865624513adbd66212c34953567c4dea0601\
         736ee534843f3b2c7efc371861652fba2cb28a9463c8e570f7f14a243630db9e411275290c9d1a0c2d9ec853f2ee20000000\
         000000004c8de882b94dc4a95952b9d4e35c2ef2f94441a4792d75cf4296a4231d3a16692000000000000000212719c70519\
         4b5a26a26ca680c38e7b98965c240cf12d6e2e019de0a6fb22a63e000000000000002200000000000000c4ad4bf502161c42\
         133c78f3b884c63711d01b19e5f77b240cdffeaf1cd2548a3bea0c0000000000000096a1d41dfb32f3ae2651b8e508000000\
         000000004145535f47434d5f";
    const BY_CORE: &str = "904e2ba46eb2516d6937ccbbffe82369fd853020237249cbd69cc5b11ec205f240ce7a8700704d581bae59e7ecbef2460333\
         c17c5bc36055753bce6d8d8d7d4dd9cac639798314ce76da488081512996116b3f337f6b2fa554e8b476508f525620000000\
         000000008cc6fed024d721f16bbb8f8e1270cb0d102a788f8ca09089e5fd9140ef6a835f20000000000000005d307579d8ca\
         49498169af96f0d9a1d838e1c184e18d574600fd4ca67817ab6e3d000000000000002100000000000000fb997e9976c57f66\
         e8fa3dca5fc96c1c48bf476296abc4a444f5c739f329dabb140c000000000000007942e8ae309a75c55279bcba0800000000\
         0000004145535f47434d5f";
    /// Made here, and decrypted with `decrypt_with_signature` of bittensor-drand 2.0.0 and bittensor-core 0.1.5.
    const OURS: &str = "808138a67409af564d5cfcf4cff25e69ca1460f3935481b2714c406cfbec876ab0e2d0c1e02ed00c6261b33f9ac320990700\
         d3f16dfb3a2f879a6bed3667b174f21b86d1baeb4590f07ba1afd2cbe6db973bac2663f6e27e2ed2c6e9617c5b1f20000000\
         00000000631a892e1af8089ffed465111d4a93579a9e4cd55c247678c8e6a367dd05002d20000000000000003d12a13ba145\
         47d685a5a390b10d51af79339249327b7377afa08e3a527a6dff35000000000000001900000000000000cd4883e5122b18a3\
         5c12e3643a614849f063254b180bec87840c000000000000007a0786b127a9d7b2cad8ed5108000000000000004145535f47\
         434d5f";

    fn bytes(digits: &str) -> Vec<u8> {
        hex::decode(digits).unwrap()
    }

    fn ours(text: &[u8], round: u64) -> Vec<u8> {
        encrypt(&QUICKNET, round, text, &mut ChaCha20Rng::seed_from_u64(7)).unwrap()
    }

    #[test]
    fn the_signature_of_round_1000_is_quicknets() {
        let signature = G1Affine::deserialize_compressed(&*bytes(SIGNATURE)).unwrap();
        let public = G2Affine::deserialize_compressed(&QUICKNET.public_key[..]).unwrap();
        let signed = Bls12_381::pairing(signature, G2Affine::generator());
        assert_eq!(signed, Bls12_381::pairing(identity(ROUND).unwrap(), public));
        assert_ne!(signed, Bls12_381::pairing(identity(ROUND + 1).unwrap(), public));
    }

    #[test]
    fn what_bittensors_tools_encrypt_is_read() {
        for (text, ciphertext) in [("by bittensor-drand", BY_DRAND), ("by bittensor-core", BY_CORE)] {
            assert_eq!(decrypt(&bytes(ciphertext), &bytes(SIGNATURE)).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn what_is_encrypted_here_has_the_bytes_that_bittensors_tools_read() {
        let ciphertext = ours(b"by bistro", ROUND);
        assert_eq!(hex::encode(&ciphertext), OURS);
        assert_eq!(decrypt(&ciphertext, &bytes(SIGNATURE)).unwrap(), b"by bistro");
    }

    #[test]
    fn nothing_but_the_whole_ciphertext_of_the_round_is_read() {
        let good = ours(b"by bistro", ROUND);
        let signature = bytes(SIGNATURE);
        assert!(decrypt(&ours(b"by bistro", ROUND + 1), &signature).is_err(), "another round");
        assert!(decrypt(&good, &signature[1..]).is_err() && decrypt(&good, &[0; 48]).is_err(), "no signature");
        for length in [0, 95, 96, 103, 104, 135, 136, 176, 184, 192, good.len() - 1] {
            assert!(decrypt(&good[..length], &signature).is_err(), "cut at {length}");
        }
        // One bit of each part: U, a length, V, W, the text, the nonce, the cipher.
        for at in [3, 96, 104, 144, 200, good.len() - 20, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(decrypt(&bad, &signature).is_err(), "byte {at}");
        }
        let mut endless = good.clone();
        endless[96..104].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(decrypt(&endless, &signature).is_err());
    }

    #[test]
    fn two_ciphertexts_share_nothing() {
        let mut random = ChaCha20Rng::seed_from_u64(1);
        let mut make = || encrypt(&QUICKNET, ROUND, b"same", &mut random).unwrap();
        let (one, two) = (make(), make());
        assert!(one[..96] != two[..96] && one[104..136] != two[104..136] && one[144..176] != two[144..176]);
        assert!(one[192..] != two[192..]);
    }

    #[test]
    fn a_payload_is_hotkey_uids_values_and_version() {
        let payload = weights_payload(&Hotkey([0xab; 32]), &[(Uid(1), 65535), (Uid(300), 7)], 9);
        let wanted = ["80", &"ab".repeat(32), "08", "01002c01", "08", "ffff0700", "0900000000000000"].concat();
        assert_eq!(hex::encode(payload), wanted);
        let legacy = legacy_weights_payload(&[(Uid(1), 65535), (Uid(300), 7)], 9);
        assert_eq!(hex::encode(legacy), wanted[66..], "all but the hotkey and its length");
    }

    #[test]
    fn weights_of_a_full_subnet_fit_the_chain() {
        let weights: Vec<_> = (0..256).map(|uid| (Uid(uid), 65535)).collect();
        let ciphertext = ours(&weights_payload(&Hotkey([1; 32]), &weights, 0), ROUND);
        assert_eq!(ciphertext.len(), 1313, "as many bytes as Bittensor's own client makes");
        assert!(ciphertext.len() <= MAX_CIPHERTEXT_BYTES);
    }
}
