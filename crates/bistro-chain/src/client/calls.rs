//! The calls that are sent, as subxt's dynamic payloads: names are resolved in the live metadata, arguments by position.

use bistro_core::ids::{Hotkey, NetUid, Uid};
use subxt::dynamic::{self, Value};
use subxt::ext::scale_value::Composite;
use subxt::transactions::DynamicPayload;

/// A call with its arguments.
pub(super) type Call = DynamicPayload<Composite<()>>;

fn call(pallet: &'static str, name: &'static str, arguments: Vec<Value>) -> Call {
    dynamic::transaction(pallet, name, Composite::Unnamed(arguments))
}

fn number(n: impl Into<u128>) -> Value {
    Value::u128(n.into())
}

/// `Commitments.set_commitment` with one field, `RawN` of the text's own length (1 to 128 bytes).
pub(super) fn set_commitment(netuid: NetUid, text: &str) -> Call {
    let field = Value::unnamed_variant(format!("Raw{}", text.len()), [Value::from_bytes(text)]);
    let info = Value::named_composite([("fields", Value::unnamed_composite([field]))]);
    call("Commitments", "set_commitment", vec![number(netuid.0), info])
}

/// `SubtensorModule.set_weights`.
pub(super) fn set_weights(netuid: NetUid, weights: &[(Uid, u16)], version_key: u64) -> Call {
    let uids = Value::unnamed_composite(weights.iter().map(|(uid, _)| number(uid.0)));
    let values = Value::unnamed_composite(weights.iter().map(|&(_, weight)| number(weight)));
    call("SubtensorModule", "set_weights", vec![number(netuid.0), uids, values, number(version_key)])
}

/// What the calls of commit-reveal commit.
pub(super) struct Commitment {
    /// At most 5000 bytes.
    pub(super) ciphertext: Vec<u8>,
    /// The beacon's round that opens it.
    pub(super) round: u64,
    /// The chain's version of commitments.
    pub(super) version: u16,
}

/// The calls that commit weights, the newest first. A runtime takes the first that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitCall {
    /// For a subnet's first mechanism.
    Mechanism,
    /// Of runtimes without mechanisms.
    Subnet,
    /// Of runtimes before versions of commitments: what is inside names no hotkey.
    Crv3,
}

impl CommitCall {
    /// All of them, in the order of preference.
    pub(super) const ALL: [Self; 3] = [Self::Mechanism, Self::Subnet, Self::Crv3];

    /// Its name in `SubtensorModule`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mechanism => "commit_timelocked_mechanism_weights",
            Self::Subnet => "commit_timelocked_weights",
            Self::Crv3 => "commit_crv3_weights",
        }
    }

    /// The call that commits `commitment` on subnet `netuid`.
    pub(super) fn call(self, netuid: NetUid, commitment: &Commitment) -> Call {
        let mut arguments = vec![number(netuid.0)];
        if self == Self::Mechanism {
            arguments.push(number(0_u8));
        }
        arguments.extend([Value::from_bytes(&commitment.ciphertext), number(commitment.round)]);
        if self != Self::Crv3 {
            arguments.push(number(commitment.version));
        }
        call("SubtensorModule", self.name(), arguments)
    }
}

/// `SubtensorModule.burned_register`, signed by a coldkey.
pub(super) fn burned_register(netuid: NetUid, hotkey: &Hotkey) -> Call {
    call("SubtensorModule", "burned_register", vec![number(netuid.0), Value::from_bytes(hotkey.0)])
}

/// `SubtensorModule.add_stake` of `amount` rao, signed by a coldkey.
pub(super) fn add_stake(netuid: NetUid, hotkey: &Hotkey, amount: u64) -> Call {
    call("SubtensorModule", "add_stake", vec![Value::from_bytes(hotkey.0), number(netuid.0), number(amount)])
}

/// `Balances.transfer_keep_alive` of `amount` rao.
pub(super) fn transfer(to: &Hotkey, amount: u64) -> Call {
    let account = Value::unnamed_variant("Id", [Value::from_bytes(to.0)]);
    call("Balances", "transfer_keep_alive", vec![account, number(amount)])
}

/// `AdminUtils.sudo_set_subtoken_enabled`, signed by the chain's sudo key: lets a subnet be staked on.
pub(super) fn enable_stake(netuid: NetUid) -> Call {
    let enable = Value::unnamed_variant("sudo_set_subtoken_enabled", [number(netuid.0), Value::bool(true)]);
    call("Sudo", "sudo", vec![Value::unnamed_variant("AdminUtils", [enable])])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::answers::tests::real_runtimes;

    #[test]
    fn a_commitment_names_the_raw_variant_of_its_length() {
        let payload = set_commitment(NetUid(7), "bucket");
        assert_eq!((payload.pallet_name(), payload.call_name()), ("Commitments", "set_commitment"));
        let text = format!("{:?}", payload.call_data());
        assert!(text.contains("\"Raw6\"") && !text.contains("\"Raw7\""), "{text}");
    }

    #[test]
    fn calls_have_the_known_bytes_under_every_real_runtime() {
        let hotkey = Hotkey([0xab; 32]);
        let key = "ab".repeat(32);
        let commitment = Commitment { ciphertext: vec![0xcd; 3], round: 0x0102, version: 4 };
        let sealed = "0ccdcdcd02010000000000000400";
        let cases = [
            (CommitCall::Mechanism.call(NetUid(3), &commitment), format!("0776030000{sealed}")),
            (CommitCall::Subnet.call(NetUid(3), &commitment), format!("07710300{sealed}")),
            (CommitCall::Crv3.call(NetUid(3), &commitment), format!("07630300{}", &sealed[..24])),
            (set_commitment(NetUid(7), "bucket"), "120007000407".to_owned() + "6275636b6574"),
            (
                set_weights(NetUid(1), &[(Uid(3), 65535), (Uid(4), 1)], 9),
                "0700010008030004".to_owned() + "0008ffff01000900000000000000",
            ),
            (burned_register(NetUid(2), &hotkey), format!("07070200{key}")),
            (add_stake(NetUid(2), &hotkey, 1_000_000_000), format!("0702{key}020000ca9a3b00000000")),
            // Pallet 12, call 0; within it pallet 19, call 66.
            (enable_stake(NetUid(1)), "0c001342010001".to_owned()),
            // Pallet 5, call 3, MultiAddress::Id, compact amount.
            (transfer(&hotkey, 1_000_000_000), format!("050300{key}02286bee")),
        ];
        for (name, runtime) in real_runtimes() {
            let metadata = runtime.metadata();
            for (payload, wanted) in &cases {
                let pallet = metadata.pallet_by_name(payload.pallet_name()).unwrap();
                if pallet.call_variant_by_name(payload.call_name()).is_none() {
                    let old = payload.call_name() == "commit_crv3_weights";
                    assert_ne!(name.contains("293"), old, "{name} lacks {}", payload.call_name());
                    continue;
                }
                let bytes = hex::encode(runtime.tx().call_data(payload).unwrap());
                assert_eq!(bytes, *wanted, "{} under {name}", payload.call_name());
            }
        }
    }
}
