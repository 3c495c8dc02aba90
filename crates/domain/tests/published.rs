//! Test vectors that others have published, run against what wallets' signatures are checked with. Where they come from
//! is in `published/README.md`.

use std::fmt::Write as _;
use domain::wallet::ethereum::{from_hex, personal_message_hash, recover_signer, to_hex};
use domain::wallet::{Chain, ChainId, EthereumAddress, SignInMessage, SolanaAddress, WalletAddress};
use k256::ecdsa::Signature;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sha3::Keccak256;

fn read(json: &str) -> Value {
    serde_json::from_str(json).expect("the file is JSON")
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}"))
}

fn bytes(value: &Value, field: &str) -> Vec<u8> {
    from_hex(text(value, field)).unwrap_or_else(|| panic!("{field} of {value}"))
}

/// Every test of a file of Wycheproof's, with its group.
fn tests(groups: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let groups = groups.as_array().expect("groups");
    groups.iter().flat_map(|group| group["tests"].as_array().expect("tests").iter().map(move |test| (group, test)))
}

/// The signature with the other s, which means the same (EIP-2).
fn low(signature: &[u8]) -> Option<Vec<u8>> {
    let signature = Signature::from_slice(signature).ok()?;
    let low = signature.normalize_s();
    (low != signature).then(|| low.to_bytes().to_vec())
}

/// Who made the signature, by either v.
fn signers(hash: &[u8; 32], r_and_s: &[u8]) -> Vec<EthereumAddress> {
    let with = |v: u8| [r_and_s, &[v]].concat();
    let signers: Vec<_> = [27, 28].into_iter().filter_map(|v| recover_signer(hash, &with(v))).collect();
    assert_eq!(signers, [0, 1].into_iter().filter_map(|v| recover_signer(hash, &with(v))).collect::<Vec<_>>());
    signers
}

/// Verifiers of Wycheproof's are given the public key; ours recovers it. So a signature is right when one of the two
/// keys that may have made it is the one. Those with a high s are right there and refused here; of them the twin with
/// the low s has to be right.
#[test]
fn wycheproofs_ecdsa_over_secp256k1() {
    // The k of these leads to an x beyond the group's order, which v (27 or 28) cannot tell.
    const LARGE_X: [u64; 2] = [115, 247];
    let groups = read(include_str!("published/wycheproof_ecdsa_secp256k1_sha256_p1363.json"));
    let (mut right, mut high, mut wrong) = (0, 0, 0);
    for (group, test) in tests(&groups) {
        let key = bytes(group, "publicKey");
        let address: EthereumAddress = to_hex(&Keccak256::digest(&key[1..])[12..]).parse().expect("an address");
        let hash: [u8; 32] = Sha256::digest(bytes(test, "msg")).into();
        let mut signature = bytes(test, "sig");
        if let Some(low) = low(&signature) {
            assert_eq!(signers(&hash, &signature), [], "a high s: {test}");
            signature = low;
            high += u32::from(test["result"] == "valid");
        }
        let is_right = signers(&hash, &signature).contains(&address);
        let is_told = !LARGE_X.contains(&test["tcId"].as_u64().expect("a number"));
        assert_eq!(is_right, test["result"] == "valid" && is_told, "{test}");
        if is_right { right += 1 } else { wrong += 1 }
    }
    assert_eq!((right, high, wrong), (165, 72, 87));
}

#[test]
fn wycheproofs_ed25519() {
    let groups = read(include_str!("published/wycheproof_ed25519.json"));
    let mut count = 0;
    for (group, test) in tests(&groups) {
        let address: SolanaAddress = bs58::encode(bytes(group, "publicKey")).into_string().parse().expect("an address");
        let signature = bs58::encode(bytes(test, "sig")).into_string();
        assert_eq!(address.has_signed(bytes(test, "msg"), &signature), test["result"] == "valid", "{test}");
        count += 1;
    }
    assert_eq!(count, 151);
}

/// EIP-4361's text of a message with these fields.
fn message(fields: &Value) -> String {
    let mut message = format!(
        "{} wants you to sign in with your Ethereum account:\n{}\n\n{}\n\nURI: {}\nVersion: {}\nChain ID: {}\nNonce: {}\n\
         Issued At: {}",
        text(fields, "domain"),
        text(fields, "address"),
        text(fields, "statement"),
        text(fields, "uri"),
        text(fields, "version"),
        fields["chainId"],
        text(fields, "nonce"),
        text(fields, "issuedAt"),
    );
    for (name, field) in [("Expiration Time", "expirationTime"), ("Not Before", "notBefore")] {
        if let Some(time) = fields[field].as_str() {
            write!(message, "\n{name}: {time}").unwrap();
        }
    }
    message
}

fn signer_of(fields: &Value) -> Option<EthereumAddress> {
    recover_signer(&personal_message_hash(&message(fields)), &from_hex(text(fields, "signature"))?)
}

#[test]
fn siwes_signatures() {
    let right = read(include_str!("published/siwe_verification_positive.json"));
    for (name, fields) in right.as_object().expect("by name") {
        assert_eq!(signer_of(fields).map(|signer| signer.to_string()).as_deref(), fields["address"].as_str(), "{name}");
    }
    let wrong = read(include_str!("published/siwe_verification_negative.json"));
    for (name, fields) in wrong.as_object().expect("by name") {
        assert_ne!(signer_of(fields).map(|signer| signer.to_string()).as_deref(), fields["address"].as_str(), "{name}");
    }
    assert_eq!(
        (right.as_object().map(serde_json::Map::len), wrong.as_object().map(serde_json::Map::len)),
        (Some(4), Some(2))
    );
}

/// What we ask wallets to sign is, for the same fields, the very text that theirs signed.
#[test]
fn our_message_is_siwes() {
    let published = read(include_str!("published/siwe_verification_positive.json"));
    let fields = &published["example message"];
    let address: WalletAddress = text(fields, "address").parse().expect("an address");
    let ours = SignInMessage {
        domain: text(fields, "domain"),
        address: &address,
        statement: text(fields, "statement"),
        uri: text(fields, "uri"),
        chain_id: &ChainId::new(Chain::Ethereum, Some(&fields["chainId"].to_string())).expect("a network"),
        nonce: text(fields, "nonce"),
        issued_at: text(fields, "issuedAt").parse().expect("a time"),
        expires_at: text(fields, "expirationTime").parse().expect("a time"),
    };
    assert_eq!(ours.to_string(), message(fields));
    let signature = from_hex(text(fields, "signature")).expect("hexadecimal");
    assert_eq!(
        recover_signer(&personal_message_hash(&ours.to_string()), &signature).map(WalletAddress::Ethereum),
        Some(address)
    );
}

/// The documentation of web3.js: `accounts.hashMessage("Some data")`, `accounts.sign`.
#[test]
fn web3s_examples_of_eip_191() {
    let hash = personal_message_hash("Some data");
    assert_eq!(to_hex(&hash), "0x1da44b586eb0729ff70a73c326926f6ed5a25f5b056e7f47fbc6e58d86871655");
    let signature = from_hex(
        "0xb91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd6007e74cd82e037b800186422fc2da167c747ef045e5d\
         18a5f5d4300f8e1a0291c",
    )
    .expect("hexadecimal");
    let signer = recover_signer(&hash, &signature).map(|signer| signer.to_string());
    assert_eq!(signer.as_deref(), Some("0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"));
}
