//! The folder `test-clients`: programs of the other side, run by node.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// The folder; `cargo xtask test` installs what its lock file names.
#[must_use]
pub fn test_clients() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test-clients");
    assert!(folder.join("node_modules").exists(), "run `cargo xtask test`, or `npm ci` in test-clients, once");
    folder
}

/// What a real wallet's library makes of a message.
#[derive(Debug, Clone)]
pub struct WalletSignature {
    /// The address that the library writes for the key.
    pub address: String,
    /// As the library writes it.
    pub signature: String,
    /// In base64, by the library of Solana.
    pub base64: String,
}

/// Signs the message with `ethers`, `viem` or `tweetnacl` and the key of these 32 bytes.
pub async fn sign_with_wallet(library: &str, key: [u8; 32], message: &str) -> WalletSignature {
    let key = domain::wallet::ethereum::to_hex(&key);
    let mut node = Command::new("node")
        .args(["sign.mjs", library, &key[2..]])
        .current_dir(test_clients())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut stdin = node.stdin.take().expect("it is piped");
    stdin.write_all(message.as_bytes()).await.expect("node reads");
    drop(stdin);
    let output = node.wait_with_output().await.expect("node ends");
    assert!(output.status.success(), "sign.mjs failed");
    let signed: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let text = |field: &str| signed[field].as_str().unwrap_or_default().to_owned();
    WalletSignature { address: text("address"), signature: text("signature"), base64: text("base64") }
}

/// What an authenticator app shows now for this `otpauth` URL.
pub async fn authenticator_code(otpauth_url: &str) -> String {
    let node = Command::new("node").args(["totp.mjs", otpauth_url]).current_dir(test_clients()).output().await;
    let output = node.expect("node starts");
    assert!(output.status.success(), "totp.mjs failed: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
