//! The folder `test-clients`: programs of the other side, run by node and python.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::task::spawn_blocking;

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
    let request = json!({ "library": library, "key": &key[2..], "message": message }).to_string();
    let answer = spawn_blocking(move || {
        let mut signer = SIGNER.lock().expect("no signature failed before");
        signer.get_or_insert_with(Signer::start).ask(&request)
    });
    let signed: Value = serde_json::from_str(&answer.await.expect("it signs")).expect("it prints JSON");
    let text = |field: &str| signed[field].as_str().unwrap_or_default().to_owned();
    WalletSignature { address: text("address"), signature: text("signature"), base64: text("base64") }
}

/// One for all tests of a process: node needs a second to load such a library. It ends with the process, when its
/// stdin does.
static SIGNER: Mutex<Option<Signer>> = Mutex::new(None);

struct Signer {
    /// Kept for as long as it is spoken to.
    _node: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Signer {
    fn start() -> Self {
        let mut node = std::process::Command::new("node")
            .arg("sign.mjs")
            .current_dir(test_clients())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let (stdin, stdout) = (node.stdin.take().expect("piped"), node.stdout.take().expect("piped"));
        Self { _node: node, stdin, stdout: BufReader::new(stdout) }
    }

    fn ask(&mut self, request: &str) -> String {
        writeln!(self.stdin, "{request}").expect("it reads");
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).expect("it answers");
        answer
    }
}

/// What wallets read in a message that they are asked to sign: its fields, or `refused: …`. The chain is `ethereum`
/// (EIP-4361's reference library) or `solana` (the wallet standard's).
pub async fn read_sign_in_message(chain: &str, message: &str) -> Result<Value, String> {
    outcome(&run(Path::new("node"), &["message.mjs", chain], message).await)
}

/// What a library makes of a JWT and the public keys at `jwks`: its claims, or `refused: …`. The library is `jose`, run by
/// node, or `PyJWT`.
pub async fn verify_by_jwks(library: &str, jwks: &str, audience: &str, jwt: &str) -> Result<Value, String> {
    let (program, script) = match library {
        "jose" => (PathBuf::from("node"), "verify.mjs"),
        "PyJWT" => {
            // Not resolved any further: by its place in the environment python finds the environment's packages.
            let python = test_clients().join("../target/test-clients/bin/python");
            let python = std::path::absolute(python).expect("a path");
            assert!(python.exists(), "run `cargo xtask test` once");
            (python, "verify.py")
        }
        library => panic!("{library} is none of the libraries"),
    };
    outcome(&run(&program, &[script, jwks, "alternatefutures-auth", audience], jwt).await)
}

/// What an authenticator app shows now for this `otpauth` URL.
pub async fn authenticator_code(otpauth_url: &str) -> String {
    run(Path::new("node"), &["totp.mjs", otpauth_url], "").await.trim().to_owned()
}

/// What the program prints for this input.
async fn run(program: &Path, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(test_clients())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // One that reads nothing may have ended before this.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    assert!(output.status.success(), "{arguments:?} failed");
    String::from_utf8(output.stdout).expect("it prints text")
}

fn outcome(printed: &str) -> Result<Value, String> {
    match printed.trim().strip_prefix("refused: ") {
        Some(error) => Err(error.to_owned()),
        None => Ok(serde_json::from_str(printed).expect("it prints JSON")),
    }
}
