//! Who may import whom. The table is that of the architecture; a new room, or a new door between two, is decided on in
//! `docs/decisions/` and written down here.

use std::process::Command;

use serde_json::Value;

/// A room and what it may import. Whatever is not here may not be.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("store", &["domain"]),
    ("limiter", &["domain", "telemetry"]),
    ("auth-api", &["domain"]),
    ("telemetry", &[]),
    ("web", &["auth-api", "domain", "telemetry"]),
    ("auth", &["auth-api", "domain", "limiter", "store", "telemetry", "web"]),
    ("auth-client", &["auth-api", "domain", "telemetry", "web"]),
    ("backend", &["auth-api", "auth-client", "domain", "web"]),
    ("afd", &["auth", "auth-api", "auth-client", "backend", "domain", "limiter", "store", "telemetry", "web"]),
    ("testkit", &["afd", "auth", "auth-api", "auth-client", "backend", "domain", "limiter", "store", "web"]),
    ("bench", &["domain", "testkit"]),
    ("counts", &["auth", "auth-client", "backend", "domain", "limiter", "store", "testkit", "web"]),
    ("example-axum", &["auth-client"]),
    ("xtask", &[]),
];

/// What any room may import for its tests, and none otherwise.
const FOR_TESTS_ONLY: &str = "testkit";

/// What of the workspace contradicts the table.
fn contradictions(metadata: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let packages = metadata["packages"].as_array().expect("cargo lists packages");
    for package in packages {
        let room = package["name"].as_str().expect("a package has a name");
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            found.push(format!("{room} is not in the table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("a package has dependencies") {
            let imported = dependency["name"].as_str().expect("a dependency has a name");
            let is_ours = dependency["path"].is_string() || ROOMS.iter().any(|(name, _)| *name == imported);
            let is_for_tests = dependency["kind"] == "dev";
            if is_ours && !allowed.contains(&imported) && !(is_for_tests && imported == FOR_TESTS_ONLY) {
                found.push(format!("{room} may not import {imported}"));
            }
        }
    }
    for (room, _) in ROOMS {
        if !packages.iter().any(|package| package["name"] == *room) {
            found.push(format!("{room} is in the table only"));
        }
    }
    found
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

#[test]
fn the_rooms_import_what_the_table_allows() {
    assert_eq!(contradictions(&metadata()), [""; 0]);
}

/// The real workspace with one more dependency; a check that nothing can fail would hold nothing.
#[test]
fn a_door_that_is_not_in_the_table_is_noticed() {
    let with = |room: &str, imported: &str, kind: Option<&str>| {
        let mut metadata = metadata();
        let packages = metadata["packages"].as_array_mut().expect("cargo lists packages");
        let package = packages.iter_mut().find(|package| package["name"] == room).expect("the room exists");
        let dependencies = package["dependencies"].as_array_mut().expect("a package has dependencies");
        dependencies.push(serde_json::json!({ "name": imported, "path": format!("/{imported}"), "kind": kind }));
        contradictions(&metadata)
    };

    for (room, imported) in [
        ("domain", "auth-api"),
        ("store", "limiter"),
        ("limiter", "store"),
        ("auth-client", "auth"),
        ("auth", "auth-client"),
        ("backend", "store"),
        ("backend", "auth"),
        ("web", "store"),
        ("afd", "testkit"),
        ("auth", "unheard-of"),
    ] {
        for kind in [None, Some("build"), Some("dev")] {
            let expected = if imported == FOR_TESTS_ONLY && kind == Some("dev") {
                vec![]
            } else {
                vec![format!("{room} may not import {imported}")]
            };
            assert_eq!(with(room, imported, kind), expected, "{kind:?}");
        }
    }
    assert_eq!(with("backend", "auth-client", None), [""; 0]);
}

#[test]
fn a_room_that_is_not_in_the_table_is_noticed() {
    let mut metadata = metadata();
    metadata["packages"][0]["name"] = "attic".into();
    assert!(contradictions(&metadata).contains(&"attic is not in the table".to_owned()));
}
