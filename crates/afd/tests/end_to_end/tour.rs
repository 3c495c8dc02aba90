//! The README's tour, as pasted.

use testkit::{Launch, free_port};

use crate::installation::afd;

/// The shell block of the README that begins with `AUTH=`.
fn tour() -> String {
    let readme = include_str!("../../../../README.md");
    let block = readme.split("```sh\n").find(|block| block.starts_with("AUTH=")).expect("the README has a tour");
    block.split("```").next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_tour_of_the_readme_works_as_pasted() {
    let (auth_port, backend_port) = (free_port(), free_port());
    let ports = [auth_port, backend_port].map(|port| port.to_string());
    let dev = afd(&["dev", "--auth-port", &ports[0], "--backend-port", &ports[1]])
        .healthy_on(auth_port)
        .healthy_on(backend_port);
    let mut running = dev.start().await;

    let script = tour()
        .replace("localhost:3001", &format!("127.0.0.1:{auth_port}"))
        .replace("localhost:4000", &format!("127.0.0.1:{backend_port}"));
    let toured =
        Launch::new("/bin/bash").args(["-euo", "pipefail", "-c", &script]).env("PATH", "/usr/bin:/bin").run().await;
    let shown = &toured.output;
    assert_eq!(toured.code, Some(0), "{shown}");
    for expected in [
        r#""expiresIn":600"#,
        "token: af_live_",
        r#""me":{"email":"ann@example.com"}"#,
        r#""remaining":49"#,
        "x-ratelimit-remaining: 998",
        "x-ratelimit-remaining: 997",
        r#""deletePersonalAccessToken":true"#,
        "401 after delete",
        r#""type":"token.deleted""#,
        r#""type":"token.created""#,
        r#""type":"sign_in.succeeded""#,
        r#""type":"user.created""#,
    ] {
        assert!(shown.contains(expected), "{expected} in:\n{shown}");
    }

    assert_eq!(running.terminate().await, Some(0), "{}", running.output());
    let token = shown.split("token: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    assert_eq!(token.len(), 46);
    // What was printed is the developer's mail and the log; the token is in neither, nor in any file.
    for file in files(dev.folder()) {
        let content = std::fs::read(&file).unwrap();
        let found = content.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!found, "the token is in {}", file.display());
    }

    let verified = Launch::new(env!("CARGO_BIN_EXE_afd"))
        .args(["audit", "verify", "--database"])
        .args([format!("sqlite://{}", dev.folder().join(".af/auth.db").display())])
        .run()
        .await;
    assert_eq!(verified.code, Some(0), "{}", verified.output);
    assert!(verified.output.starts_with("The chain is whole: "), "{}", verified.output);
    assert!(verified.output.contains(" 0 not sealed yet"), "{}", verified.output);
}

/// The shell blocks of `docs/ways-in.md`, less those with something to fill in.
fn ways_in() -> String {
    let document = include_str!("../../../../docs/ways-in.md");
    let blocks = document.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|block| !block.contains('…')).collect::<Vec<_>>().join("\necho\n")
}

#[tokio::test]
async fn the_lines_about_the_ways_in_work_as_pasted() {
    let (auth_port, backend_port) = (free_port(), free_port());
    let ports = [auth_port, backend_port].map(|port| port.to_string());
    let dev = afd(&["dev", "--auth-port", &ports[0], "--backend-port", &ports[1]]).healthy_on(auth_port);
    let _running = dev.start().await;

    // They follow the tour, as far as its session.
    let tour = tour();
    let (until_session, _) = tour.split_once("# 2.").unwrap();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let script = format!("cd {root}\n{until_session}\n{}", ways_in())
        .replace("localhost:3001", &format!("127.0.0.1:{auth_port}"));
    let pasted =
        Launch::new("/bin/bash").args(["-euo", "pipefail", "-c", &script]).env("PATH", "/usr/bin:/bin").run().await;
    let shown = &pasted.output;
    assert_eq!(pasted.code, Some(0), "{shown}");
    assert_eq!(shown.matches(r#""accessToken":""#).count(), 3, "by link, SMS and wallet: {shown}");
    assert_eq!(shown.matches(r#""token":"af_live_"#).count(), 1, "a program was let in: {shown}");
    assert!(!shown.contains(r#""error""#), "{shown}");
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
