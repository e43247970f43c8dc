//! Key files that Bittensor's tools encrypted with a password: `$NACL`, then a secret box under a key of Argon2i.

use argon2::{Algorithm, Argon2, Params, Version};
use crypto_secretbox::aead::Aead as _;
use crypto_secretbox::{KeyInit as _, XSalsa20Poly1305};
use zeroize::Zeroizing;

/// How such a file begins.
pub(super) const PREFIX: &[u8] = b"$NACL";

/// The same for everybody: Bittensor's format has no room for a salt.
const SALT: [u8; 16] = [0x13, 0x71, 0x83, 0xdf, 0xf1, 0x5a, 0x09, 0xbc, 0x9c, 0x90, 0xb5, 0x51, 0x87, 0x39, 0xe9, 0xb1];
/// libsodium's `SENSITIVE` limits of Argon2i: 512 MiB, 8 passes, one lane. A guess costs seconds.
const MEMORY_KIB: u32 = 512 * 1024;
const PASSES: u32 = 8;
const NONCE_BYTES: usize = 24;

/// Decrypts a file's bytes, prefix included. `None` if the password is wrong or the file damaged, which cannot be told apart.
/// Takes seconds and half a gibibyte of memory.
pub(super) fn open(file: &[u8], password: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = file.strip_prefix(PREFIX)?.split_first_chunk::<NONCE_BYTES>()?;
    let parameters = Params::new(MEMORY_KIB, PASSES, 1, Some(32)).ok()?;
    let mut key = Zeroizing::new([0; 32]);
    let argon2 = Argon2::new(Algorithm::Argon2i, Version::V0x13, parameters);
    argon2.hash_password_into(password.as_bytes(), &SALT, &mut *key).ok()?;
    let cipher = XSalsa20Poly1305::new((&*key).into());
    cipher.decrypt(nonce.into(), sealed).ok().map(Zeroizing::new)
}
