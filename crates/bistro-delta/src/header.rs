//! The JSON header of a safetensors file, written canonically and read strictly.
//!
//! A file is: the header's length (u64, little-endian), the header, the data. The header maps `__metadata__` to strings
//! and every other name to a type, a shape and a range of the data.
//!
//! Both ways are our own and not the `safetensors` crate's, which in its version 0.8.0 writes metadata in random order,
//! takes a name that stands twice, and adds up offsets to an overflow, a panic where overflow is checked. Our tests hold
//! both writers and both readers against each other on sound files.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::error::DeltaError;

/// Longest header that is read, bytes. A model of 7 billion parameters needs 32 KiB.
pub const MAX_HEADER_BYTES: usize = 1 << 20;

/// Bytes of the header's length.
const LENGTH_BYTES: usize = 8;

const METADATA: &str = "__metadata__";

/// Where and what a tensor is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// `F32`, `BF16` or a stranger's text.
    pub dtype: String,
    /// Lengths of the sides.
    pub shape: Vec<u64>,
    /// First byte and the one after the last, counted from the start of the data. Unchecked.
    pub data_offsets: (u64, u64),
}

/// A header: metadata, and tensors by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Free texts by name.
    pub metadata: BTreeMap<String, String>,
    /// Tensors.
    pub tensors: BTreeMap<String, Entry>,
}

impl Header {
    /// Length and header as they stand at the start of a file: metadata first, tensors in name order, filled up with
    /// spaces to a multiple of eight bytes so that the data are aligned.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Only a map with keys that are no strings fails to serialise.
        let mut json = serde_json::to_vec(self).unwrap_or_default();
        json.resize(json.len().next_multiple_of(LENGTH_BYTES), b' ');
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.append(&mut json);
        bytes
    }

    /// Reads the header of a stranger's file; gives it with the data behind it. Each name stands once; nothing else is
    /// checked here, in particular no shape and no offset.
    pub fn read(file: &[u8]) -> Result<(Self, &[u8]), DeltaError> {
        let malformed = |what: String| DeltaError::Malformed(what);
        let (length, rest) = file
            .split_first_chunk::<LENGTH_BYTES>()
            .ok_or_else(|| malformed(format!("it has {} bytes, fewer than a header's length takes", file.len())))?;
        let length = u64::from_le_bytes(*length);
        if length > MAX_HEADER_BYTES as u64 {
            return Err(malformed(format!("its header has {length} bytes, at most {MAX_HEADER_BYTES} are read")));
        }
        let (json, data) = rest
            .split_at_checked(length as usize)
            .ok_or_else(|| malformed(format!("it ends within its header of {length} bytes")))?;
        if json.first() != Some(&b'{') {
            return Err(malformed("its header does not start with `{`".into()));
        }
        let header = serde_json::from_slice(json).map_err(|e| malformed(format!("its header: {e}")))?;
        Ok((header, data))
    }
}

impl Serialize for Header {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(METADATA, &self.metadata)?;
        for (name, entry) in &self.tensors {
            map.serialize_entry(name, entry)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let (mut metadata, mut tensors) = (None, BTreeMap::new());
        while let Some(name) = map.next_key::<String>()? {
            let again = if name == METADATA {
                metadata.replace(map.next_value::<Texts>()?.0).is_some()
            } else {
                let entry = map.next_value::<Entry>()?;
                tensors.insert(name.clone(), entry).is_some()
            };
            if again {
                return Err(A::Error::custom(format_args!("`{name}` stands twice")));
            }
        }
        Ok(Header { metadata: metadata.unwrap_or_default(), tensors })
    }
}

/// A map of texts in which no name stands twice.
struct Texts(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TextsVisitor).map(Texts)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut texts = BTreeMap::new();
        while let Some((name, text)) = map.next_entry::<String, String>()? {
            if texts.insert(name.clone(), text).is_some() {
                return Err(A::Error::custom(format_args!("metadata `{name}` stands twice")));
            }
        }
        Ok(texts)
    }
}
