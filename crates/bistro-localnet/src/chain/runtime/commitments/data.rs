//! One field of a commitment. Raw bytes carry their length in the variant's index, so 137 variants are written out by hand.

use codec::{Decode, DecodeWithMemTracking, Encode, EncodeLike, Error, Input, Output};
use frame_support::{BoundedVec, traits::ConstU32};
use scale_info::{
    Path, Type, TypeInfo,
    build::{Fields, Variants},
};

/// The most bytes of [`Data::BigRaw`].
pub type BigRawLimit = ConstU32<512>;
/// The most bytes of [`Data::TimelockEncrypted`].
pub type TimelockLimit = ConstU32<1024>;

/// The most bytes of [`Data::Raw`].
const MAX_RAW: usize = 128;
/// Index of the first variant after `Raw128`.
const FIRST_HASH: u8 = MAX_RAW as u8 + 2;

/// A field: raw bytes, a hash, or a timelocked secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing; index 0.
    None,
    /// 0 to 128 bytes; index is the length and one, and no length is written.
    Raw(BoundedVec<u8, ConstU32<{ MAX_RAW as u32 }>>),
    /// BLAKE2b-256; index 130.
    BlakeTwo256([u8; 32]),
    /// SHA-256; index 131.
    Sha256([u8; 32]),
    /// Keccak-256; index 132.
    Keccak256([u8; 32]),
    /// SHA3-256; index 133.
    ShaThree256([u8; 32]),
    /// Bytes that can be read from a round of drand on; index 134.
    TimelockEncrypted {
        /// Ciphertext.
        encrypted: BoundedVec<u8, TimelockLimit>,
        /// Round of drand quicknet.
        reveal_round: u64,
    },
    /// Asks for the neuron's bonds to be reset; index 135.
    ResetBondsFlag,
    /// Up to 512 bytes with their length; index 136.
    BigRaw(BoundedVec<u8, BigRawLimit>),
}

impl Data {
    /// Bytes that count against the epoch's space.
    pub fn len_for_rate_limit(&self) -> u64 {
        match self {
            Self::None | Self::ResetBondsFlag => 0,
            Self::Raw(bytes) => bytes.len() as u64,
            Self::BlakeTwo256(hash) | Self::Sha256(hash) | Self::Keccak256(hash) | Self::ShaThree256(hash) => {
                hash.len() as u64
            }
            Self::TimelockEncrypted { encrypted, .. } => encrypted.len() as u64,
            Self::BigRaw(bytes) => bytes.len() as u64,
        }
    }
}

impl Encode for Data {
    fn encode_to<W: Output + ?Sized>(&self, out: &mut W) {
        match self {
            Self::None => out.push_byte(0),
            Self::Raw(bytes) => {
                out.push_byte(bytes.len() as u8 + 1);
                out.write(bytes);
            }
            Self::BlakeTwo256(hash) => (FIRST_HASH, hash).encode_to(out),
            Self::Sha256(hash) => (FIRST_HASH + 1, hash).encode_to(out),
            Self::Keccak256(hash) => (FIRST_HASH + 2, hash).encode_to(out),
            Self::ShaThree256(hash) => (FIRST_HASH + 3, hash).encode_to(out),
            Self::TimelockEncrypted { encrypted, reveal_round } => {
                (FIRST_HASH + 4, encrypted, reveal_round).encode_to(out);
            }
            Self::ResetBondsFlag => out.push_byte(FIRST_HASH + 5),
            Self::BigRaw(bytes) => (FIRST_HASH + 6, bytes).encode_to(out),
        }
    }
}

impl EncodeLike for Data {}

impl Decode for Data {
    fn decode<I: Input>(input: &mut I) -> Result<Self, Error> {
        let index = input.read_byte()?;
        Ok(match index {
            0 => Self::None,
            1..FIRST_HASH => {
                let mut bytes = vec![0; usize::from(index) - 1];
                input.read(&mut bytes)?;
                Self::Raw(BoundedVec::truncate_from(bytes))
            }
            130 => Self::BlakeTwo256(Decode::decode(input)?),
            131 => Self::Sha256(Decode::decode(input)?),
            132 => Self::Keccak256(Decode::decode(input)?),
            133 => Self::ShaThree256(Decode::decode(input)?),
            134 => {
                let (encrypted, reveal_round) = Decode::decode(input)?;
                Self::TimelockEncrypted { encrypted, reveal_round }
            }
            135 => Self::ResetBondsFlag,
            136 => Self::BigRaw(Decode::decode(input)?),
            _ => return Err("Data: unknown variant".into()),
        })
    }
}

impl DecodeWithMemTracking for Data {}

/// Adds the variants `Raw0` to `Raw128`: a constant array each, since SCALE's description of an array needs its length as a type.
macro_rules! raw_variants {
    ($variants:ident, $($length:literal)*) => {
        $(let $variants = $variants.variant(concat!("Raw", stringify!($length)), |v| {
            v.index($length + 1).fields(Fields::unnamed().field(|f| f.ty::<[u8; $length]>()))
        });)*
    };
}

impl TypeInfo for Data {
    type Identity = Self;

    fn type_info() -> Type {
        let v = Variants::new().variant("None", |v| v.index(0));
        raw_variants!(v,
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
            32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
            64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79 80 81 82 83 84 85 86 87 88 89 90 91 92 93 94 95
            96 97 98 99 100 101 102 103 104 105 106 107 108 109 110 111 112 113 114 115 116 117 118 119
            120 121 122 123 124 125 126 127 128
        );
        let mut v = v;
        for (name, index) in [("BlakeTwo256", 130), ("Sha256", 131), ("Keccak256", 132), ("ShaThree256", 133)] {
            v = v.variant(name, |v| v.index(index).fields(Fields::unnamed().field(|f| f.ty::<[u8; 32]>())));
        }
        let v = v
            .variant("TimelockEncrypted", |v| {
                v.index(134).fields(
                    Fields::named()
                        .field(|f| f.name("encrypted").ty::<BoundedVec<u8, TimelockLimit>>())
                        .field(|f| f.name("reveal_round").ty::<u64>()),
                )
            })
            .variant("ResetBondsFlag", |v| v.index(135))
            .variant("BigRaw", |v| {
                v.index(136).fields(Fields::unnamed().field(|f| f.ty::<BoundedVec<u8, BigRawLimit>>()))
            });
        Type::builder().path(Path::new("Data", "pallet_commitments::types")).variant(v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_bytes_carry_their_length_in_the_variant() {
        let field = Data::Raw(BoundedVec::truncate_from(b"bucket".to_vec()));
        assert_eq!(field.encode(), hex::decode("076275636b6574").unwrap());
        assert_eq!(Data::decode(&mut &field.encode()[..]), Ok(field));
    }

    #[test]
    fn every_variant_survives_the_round_trip_and_unknown_ones_are_refused() {
        let raw = |n: usize| Data::Raw(BoundedVec::truncate_from(vec![7; n]));
        let all = [
            Data::None,
            raw(0),
            raw(128),
            Data::BlakeTwo256([1; 32]),
            Data::Sha256([2; 32]),
            Data::Keccak256([3; 32]),
            Data::ShaThree256([4; 32]),
            Data::TimelockEncrypted { encrypted: BoundedVec::truncate_from(vec![5; 9]), reveal_round: 6 },
            Data::ResetBondsFlag,
            Data::BigRaw(BoundedVec::truncate_from(vec![8; 512])),
        ];
        for field in all {
            assert_eq!(Data::decode(&mut &field.encode()[..]), Ok(field));
        }
        assert!(Data::decode(&mut &[137_u8][..]).is_err());
        assert!(Data::decode(&mut &[7_u8, 1, 2][..]).is_err(), "six bytes announced, two there");
    }
}
