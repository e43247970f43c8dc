//! One key file: Bittensor's JSON in its old and new shapes, a bare seed, or bare words.

use serde::{Deserialize, Serialize};
use sp_core::crypto::Pair as _;
use sp_core::sr25519;
use zeroize::Zeroizing;

use super::{KeySource, Password, sealed};
use crate::identity::{Keypair, SecretError};

/// Larger files are no key files.
pub(super) const MAX_BYTES: u64 = 64 * 1024;

/// What is wrong with a key file's content.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Encrypted(&'static str, &'static str),
    WrongPassword,
    Content(String),
    Mismatch { stated: String, found: bistro_core::ids::Hotkey },
}

/// The fields of a key file. Old ones lack some, and some have a space before `ss58Address`.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_phrase: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_seed: Option<Secret>,
    #[serde(rename = "ss58Address", alias = " ss58Address", skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crypto_type: Option<u8>,
}

/// A text that is wiped when dropped.
type Secret = Zeroizing<String>;

/// `cryptoType` of sr25519.
const SR25519: u8 = 1;

/// How files of old encryptions begin, what encrypted them, and what to do.
const OLD_ENCRYPTIONS: [(&[u8], &str, &str); 2] =
    [(b"$ANSIBLE_VAULT", "ansible-vault, an old format", REMAKE), (b"gAAAAA", "Fernet, an old format", REMAKE)];
const REMAKE: &str = "make this key again from its words with `btcli wallet regen-hotkey`";
const GIVE_PASSWORD: &str = "give the password in BT_WALLET_PASSWORD, or a file with it in BT_WALLET_PASSWORD_FILE";

/// Decrypts a key file's bytes if they are encrypted, with the password that is asked for only then, and reads them.
pub(super) fn parse_with(bytes: &[u8], password: impl FnOnce() -> Option<Password>) -> Result<Keypair, Fault> {
    if !bytes.starts_with(sealed::PREFIX) {
        return parse(bytes);
    }
    let password = password().ok_or(Fault::Encrypted("NaCl, Bittensor's present format", GIVE_PASSWORD))?;
    let plain = sealed::open(bytes, &password).ok_or(Fault::WrongPassword)?;
    parse(&plain)
}

/// Reads an unencrypted key file's bytes: `privateKey`, or else `secretSeed`, or else `secretPhrase`, checked against the address.
fn parse(bytes: &[u8]) -> Result<Keypair, Fault> {
    if let Some((_, kind, mend)) = OLD_ENCRYPTIONS.iter().find(|(prefix, ..)| bytes.starts_with(prefix)) {
        return Err(Fault::Encrypted(kind, mend));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Content("it is not text".into()))?.trim();
    if !text.starts_with('{') {
        return bare(text);
    }
    let file = fields(text)?;
    if file.crypto_type.is_some_and(|kind| kind != SR25519) {
        return Err(Fault::Content("its cryptoType is not 1: only sr25519 keys can be hotkeys here".into()));
    }
    let key = secret_of(&file)?;
    let found = key.public();
    if let Some(stated) = &file.address
        && *stated != found.ss58()
    {
        return Err(Fault::Mismatch { stated: stated.chars().take(64).collect(), found });
    }
    if let Some(stated) = &file.public_key
        && decode_hex(stated).is_none_or(|bytes| *bytes != found.0)
    {
        return Err(Fault::Mismatch { stated: stated.chars().take(66).collect(), found });
    }
    Ok(key)
}

/// The JSON's fields. Serde's message is not passed on whole: it may quote a value.
pub(super) fn fields(text: &str) -> Result<KeyFile, Fault> {
    serde_json::from_str(text).map_err(|e| {
        let kind = if e.is_data() { "a field of the wrong type" } else { "broken JSON" };
        Fault::Content(format!("{kind} at line {}, column {}", e.line(), e.column()))
    })
}

fn secret_of(file: &KeyFile) -> Result<Keypair, Fault> {
    let content = |field: &str, error: SecretError| Fault::Content(format!("{field}: {error}"));
    for (field, value) in [("privateKey", &file.private_key), ("secretSeed", &file.secret_seed)] {
        if let Some(value) = value.as_ref().filter(|text| !text.is_empty()) {
            let bytes = decode_hex(value).ok_or_else(|| Fault::Content(format!("{field}: not hexadecimal")))?;
            return Keypair::from_bytes(&bytes).map_err(|e| content(field, e));
        }
    }
    match file.secret_phrase.as_ref().filter(|text| !text.is_empty()) {
        Some(phrase) => Keypair::from_phrase(phrase).map_err(|e| content("secretPhrase", e)),
        None => Err(Fault::Content(
            "it has no privateKey, secretSeed or secretPhrase; is it a public file (`…pub.txt`)?".into(),
        )),
    }
}

/// The oldest files: a hexadecimal seed or a mnemonic and nothing else, so nothing to check the key against.
fn bare(text: &str) -> Result<Keypair, Fault> {
    if let Some(seed) = decode_hex(text) {
        return Keypair::from_bytes(&seed).map_err(|e| Fault::Content(e.to_string()));
    }
    Keypair::from_phrase(text)
        .map_err(|_| Fault::Content("it is neither JSON, nor a hexadecimal seed, nor a mnemonic".into()))
}

fn decode_hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mut bytes = Zeroizing::new(vec![0; digits.len() / 2]);
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    (!bytes.is_empty()).then_some(bytes)
}

/// A new key with its secret and its public file.
pub(super) struct NewKey {
    pub(super) key: Keypair,
    pub(super) secret: Zeroizing<Vec<u8>>,
    pub(super) public: Vec<u8>,
}

/// Makes a key and the two files that Bittensor's tools would write for it.
pub(super) fn make(source: KeySource<'_>) -> Result<NewKey, SecretError> {
    let (key, phrase, seed) = match source {
        KeySource::Uri(uri) => (Keypair::from_uri(uri)?, None, None),
        KeySource::Random => {
            let (_, phrase, seed) = sr25519::Pair::generate_with_phrase(None);
            let (phrase, seed) = (Zeroizing::new(phrase), Zeroizing::new(seed));
            (Keypair::from_bytes(&*seed)?, Some(phrase), Some(prefixed_hex(&*seed)))
        }
    };
    let public_key = prefixed_hex(&key.public().0);
    let public = || KeyFile {
        account_id: Some(public_key.to_string()),
        public_key: Some(public_key.to_string()),
        address: Some(key.public().ss58()),
        crypto_type: Some(SR25519),
        ..KeyFile::default()
    };
    let mut secret = public();
    secret.private_key = Some(prefixed_hex(&key.secret()));
    (secret.secret_phrase, secret.secret_seed) = (phrase, seed);
    let (secret, public) = (to_json(&secret), to_json(&public()).to_vec());
    Ok(NewKey { key, secret, public })
}

fn prefixed_hex(bytes: &[u8]) -> Secret {
    let digits = Zeroizing::new(hex::encode(bytes));
    Zeroizing::new(["0x", digits.as_str()].concat())
}

fn to_json(file: &KeyFile) -> Zeroizing<Vec<u8>> {
    // Reserved at once, so that growing leaves no copy of a secret behind. Texts and a number always serialise.
    let mut json = Zeroizing::new(Vec::with_capacity(4096));
    let _ = serde_json::to_writer(&mut *json, file);
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
    const ALICE_PUBLIC: &str = "0xd43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d";
    const ALICE_SEED: &str = "0xe5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a";
    const ALICE_PRIVATE: &str = "0x33a6f3093f158a7109f679410bef1a0c54168145e0cecb4df006c1c2fffb1f09\
                                 925a225d97aa00682d6a59b95b18780c10d7032336e88f3442b42361f4a66011";
    /// Substrate's development phrase, and its address without derivation.
    const WORDS: &str = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";
    const WORDS_ADDRESS: &str = "5DfhGyQdFobKM8NsWvEeAKk5EQQgYe9AydgJ7rMB6E1EqRzV";

    #[test]
    fn every_shape_of_a_key_file_is_read() {
        let q = |text: &str| format!("\"{text}\"");
        let cases = [
            (
                "private key only",
                format!("{{\"privateKey\":{},\"ss58Address\":{}}}", q(ALICE_PRIVATE), q(ALICE)),
                ALICE,
            ),
            (
                "version 9",
                format!(
                    "{{\"accountId\":{p},\"publicKey\":{p},\"privateKey\":{},\"secretPhrase\":null,\"secretSeed\":null,\"ss58Address\":{},\"cryptoType\":1}}",
                    q(ALICE_PRIVATE),
                    q(ALICE),
                    p = q(ALICE_PUBLIC),
                ),
                ALICE,
            ),
            (
                "version 11",
                format!(
                    "{{\"cryptoType\":1,\"accountType\":\"sr25519\",\"signingScheme\":\"x\",\"privateKey\":{},\"ss58Address\":{}}}",
                    q(ALICE_PRIVATE),
                    q(ALICE)
                ),
                ALICE,
            ),
            (
                "seed, and a space in the key",
                format!("{{\"secretSeed\":{},\" ss58Address\":{}}}", q(ALICE_SEED), q(ALICE)),
                ALICE,
            ),
            (
                "phrase",
                format!("{{\"secretPhrase\":{},\"secretSeed\":\"\",\"ss58Address\":{}}}", q(WORDS), q(WORDS_ADDRESS)),
                WORDS_ADDRESS,
            ),
            ("bare seed", format!("{ALICE_SEED}\n"), ALICE),
            ("bare seed without 0x", ALICE_SEED[2..].to_owned(), ALICE),
            ("bare words", format!("{WORDS}\n"), WORDS_ADDRESS),
        ];
        for (shape, text, address) in cases {
            let key = parse(text.as_bytes()).unwrap_or_else(|e| panic!("{shape}: {e:?}"));
            assert_eq!(key.public().ss58(), address, "{shape}");
        }
    }

    #[test]
    fn the_private_key_wins_over_the_seed() {
        let bob = "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty";
        let text = format!("{{\"privateKey\":\"{ALICE_PRIVATE}\",\"secretSeed\":\"0x00\",\"ss58Address\":\"{bob}\"}}");
        let Err(Fault::Mismatch { stated, found }) = parse(text.as_bytes()) else { panic!("a wrong address passed") };
        assert_eq!((stated.as_str(), found.ss58().as_str()), (bob, ALICE));
    }

    #[test]
    fn a_wrong_public_key_is_a_mismatch() {
        let text = format!("{{\"secretSeed\":\"{ALICE_SEED}\",\"publicKey\":\"0x{}\"}}", "00".repeat(32));
        assert!(matches!(parse(text.as_bytes()), Err(Fault::Mismatch { .. })));
    }

    #[test]
    fn encrypted_files_are_refused_by_name() {
        for (head, name) in [("$NACL\u{1}", "NaCl"), ("$ANSIBLE_VAULT;1.1;AES256\n", "ansible"), ("gAAAAABk", "Fernet")]
        {
            let Err(Fault::Encrypted(kind, _)) = parse_with(head.as_bytes(), || None) else { panic!("{name} passed") };
            assert!(kind.contains(name), "{kind}");
        }
    }

    #[test]
    fn no_message_repeats_a_secret() {
        let bad = [
            format!("{{\"privateKey\":\"{ALICE_PRIVATE}ff\"}}"),
            format!("{{\"secretSeed\":\"{ALICE_SEED}zz\"}}"),
            format!("{{\"secretPhrase\":[\"{ALICE_SEED}\"]}}"),
            format!("{{\"secretPhrase\":\"{ALICE_SEED}\"}}"),
            format!("{ALICE_SEED}00"),
            format!("{{\"cryptoType\":0,\"secretSeed\":\"{ALICE_SEED}\"}}"),
            "{\"ss58Address\":\"x\"}".to_owned(),
            "\u{0}".to_owned(),
            String::new(),
        ];
        for text in bad {
            let fault = parse(text.as_bytes()).map(|key| key.public()).unwrap_err();
            assert!(matches!(fault, Fault::Content(_)), "{text}: {fault:?}");
            let message = format!("{fault:?}");
            assert!(!message.contains(&ALICE_SEED[2..20]) && !message.contains(&ALICE_PRIVATE[2..20]), "{message}");
        }
    }

    #[test]
    fn what_is_made_is_read_again() {
        let made = make(KeySource::Uri("//Alice")).unwrap();
        assert_eq!(parse(&made.secret).unwrap().public().ss58(), ALICE);
        let json: serde_json::Value = serde_json::from_slice(&made.secret).unwrap();
        assert_eq!(json["privateKey"], ALICE_PRIVATE);
        assert!(json.get("secretPhrase").is_none(), "a key from a URI has no words");
        let public: serde_json::Value = serde_json::from_slice(&made.public).unwrap();
        assert_eq!(public["ss58Address"], ALICE);
        assert_eq!(public.as_object().unwrap().len(), 4, "nothing secret in the public file: {public}");

        let random = make(KeySource::Random).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&random.secret).unwrap();
        let again = Keypair::from_phrase(json["secretPhrase"].as_str().unwrap()).unwrap();
        assert_eq!(again.public(), random.key.public());
        assert_ne!(make(KeySource::Random).unwrap().key.public(), random.key.public());
    }
}
