//! A real browser, Debian's Chromium, used by keyboard.

use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::test_clients;

/// What somebody at the browser has before them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sight {
    /// The address.
    pub url: String,
    /// The status that the page came with.
    pub status: u16,
    /// The page's title.
    pub title: String,
    /// The page's language.
    pub language: String,
    /// The text that can be seen.
    pub text: String,
    /// What the keyboard acts on.
    pub focus: Focus,
    /// Whether what the keyboard acts on is marked.
    pub outlined: bool,
    /// Whether the page's style came through its policy.
    pub styled: bool,
    /// Whether the page is wider than the window.
    pub overflows: bool,
    /// Fields without a label.
    pub unlabelled: usize,
    /// Fields and buttons that no finger hits.
    pub too_small: usize,
    /// What pages loaded besides themselves, since the browser started.
    pub wanted: Vec<String>,
    /// What pages tried and their policy forbade, since the browser started.
    pub complaints: Vec<String>,
}

/// What the keyboard acts on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Focus {
    /// The element: `input`, `button`, …
    pub tag: String,
    /// What it says, or what its label says.
    pub name: String,
}

/// A browser with a profile of its own; it ends when this is dropped.
pub struct Browser {
    // Ends when its stdin does, and takes Chromium along.
    _node: Child,
    commands: ChildStdin,
    sights: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    /// Starts one; pages may run scripts or not.
    #[must_use]
    pub fn start(runs_scripts: bool) -> Self {
        let mut node = Command::new("node")
            .args(["browser.mjs", "/usr/bin/chromium", if runs_scripts { "script" } else { "noscript" }])
            .current_dir(test_clients())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let commands = node.stdin.take().expect("it is piped");
        let sights = BufReader::new(node.stdout.take().expect("it is piped")).lines();
        Self { _node: node, commands, sights }
    }

    /// Enters an address.
    pub async fn open(&mut self, url: &str) -> Sight {
        self.act(json!(["open", url])).await
    }

    /// Types into what has the focus.
    pub async fn type_text(&mut self, text: &str) -> Sight {
        self.act(json!(["type", text])).await
    }

    /// Presses a key, such as `Tab`, `Shift+Tab` or `Enter`; waits for the page that Enter leads to.
    pub async fn press(&mut self, key: &str) -> Sight {
        self.act(json!(["press", key])).await
    }

    /// Presses a key after which the page is to stay as it is.
    pub async fn key(&mut self, key: &str) -> Sight {
        self.act(json!(["key", key])).await
    }

    /// Says whether its owner likes pages `light` or `dark`.
    pub async fn scheme(&mut self, scheme: &str) -> Sight {
        self.act(json!(["scheme", scheme])).await
    }

    /// Gives it an Ethereum wallet with this key, which agrees to everything; pages find it from the next one on.
    pub async fn wallet(&mut self, key: &str) -> Sight {
        self.act(json!(["wallet", key])).await
    }

    /// Makes the window so large.
    pub async fn resize(&mut self, width: u32, height: u32) -> Sight {
        self.act(json!(["size", width, height])).await
    }

    /// Writes what can be seen into a PNG file, for a person to look at.
    pub async fn screenshot(&mut self, path: &Path) {
        self.act(json!(["screenshot", path])).await;
    }

    async fn act(&mut self, action: Value) -> Sight {
        self.commands.write_all(format!("{action}\n").as_bytes()).await.expect("the browser listens");
        let line = self.sights.next_line().await.expect("the browser answers").unwrap_or_default();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{action}: {error}: {line}"))
    }
}
