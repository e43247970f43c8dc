//! The password of an encrypted key, as Bittensor's tools find it in the environment.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// A password, wiped when it is dropped.
pub type Password = Zeroizing<String>;

/// Longer ones are no passwords.
const MAX_BYTES: u64 = 4096;

/// The password of the key at `path`: from `BT_WALLET_PASSWORD`, or the first line of the file that `BT_WALLET_PASSWORD_FILE` names, or
/// the variable that Bittensor's tools save it in for this path ([`variable`]). `read` gives an environment variable's value.
///
/// An unreadable file counts as no password, with a warning.
pub fn from_environment(path: &Path, read: impl Fn(&str) -> Option<String>) -> Option<Password> {
    if let Some(password) = read("BT_WALLET_PASSWORD").map(Password::new).filter(|text| !text.is_empty()) {
        return Some(password);
    }
    if let Some(file) = read("BT_WALLET_PASSWORD_FILE").filter(|file| !file.is_empty()) {
        return first_line(Path::new(&file));
    }
    let variable = variable(path);
    let saved = read(&variable).map(Password::new)?;
    let password = unmask(&saved, &variable);
    if password.is_none() {
        tracing::warn!(variable, "it holds no password as Bittensor's tools save one");
    }
    password
}

/// The variable in which Bittensor's tools save the password of the key at `path`: `BT_PW_` and the path in capitals, with `_` for `/`
/// and `.`.
pub fn variable(path: &Path) -> String {
    let path = path.to_string_lossy().to_uppercase();
    format!("BT_PW_{}", path.replace(['/', '.'], "_"))
}

/// Base64 of the password xor the variable's name.
fn unmask(saved: &str, variable: &str) -> Option<Password> {
    let masked = Zeroizing::new(STANDARD.decode(saved).ok()?);
    let mut bytes = Zeroizing::new(Vec::with_capacity(masked.len()));
    bytes.extend(masked.iter().zip(variable.bytes().cycle()).map(|(byte, mask)| byte ^ mask));
    std::str::from_utf8(&bytes).ok().map(|text| Password::new(text.to_owned()))
}

fn first_line(path: &Path) -> Option<Password> {
    // Room for all of it at once: a text that grows leaves copies behind.
    let mut text = Password::new(String::with_capacity(MAX_BYTES as usize + 1));
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
    match read {
        Ok(bytes) if bytes as u64 <= MAX_BYTES => {
            let line = text.lines().next().unwrap_or_default();
            Some(Password::new(line.to_owned()))
        }
        Ok(_) => {
            tracing::warn!(path = %path.display(), "a password has at most {MAX_BYTES} bytes");
            None
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the file of BT_WALLET_PASSWORD_FILE cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Option<String> {
        let read = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        from_environment(Path::new("/keys/My.wallet/hotkeys/h-1"), read).map(|password| password.to_string())
    }

    #[test]
    fn the_plain_variable_wins_then_the_file_then_the_saved_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from file\nnot this\n").unwrap();
        let path = file.path().to_str().unwrap();
        let saved = ("BT_PW__KEYS_MY_WALLET_HOTKEYS_H-1", "MTUpNTN/MCUg");
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[saved]).unwrap(), "saved one");
        assert_eq!(of(&[saved, ("BT_WALLET_PASSWORD_FILE", path)]).unwrap(), "from file");
        let both = [saved, ("BT_WALLET_PASSWORD_FILE", path), ("BT_WALLET_PASSWORD", "plain")];
        assert_eq!(of(&both).unwrap(), "plain");
        assert_eq!(of(&[("BT_WALLET_PASSWORD_FILE", "/no/such/file")]), None);
        std::fs::write(file.path(), vec![b'x'; 5000]).unwrap();
        assert_eq!(of(&[("BT_WALLET_PASSWORD_FILE", path)]), None, "too long");
    }

    #[test]
    fn what_bittensors_wallet_saved_is_read() {
        // By bittensor-wallet 4.1.1 for this path and "Not a g00d one!".
        let name = variable(Path::new("/tmp/kk/My.wallet/hotkeys/h-1"));
        assert_eq!(name, "BT_PW__TMP_KK_MY_WALLET_HOTKEYS_H-1");
        assert_eq!(*unmask("DDsrcDZ/OGR9NH8kJTps", &name).unwrap(), "Not a g00d one!");
        assert!(unmask("no base64!", &name).is_none());
    }
}
