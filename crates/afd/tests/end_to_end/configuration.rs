//! What cannot be used is told whole, before anything is bound.

use testkit::free_port;

use crate::installation::afd;

#[tokio::test]
async fn every_problem_is_told_at_once_with_exit_code_78() {
    let told = afd(&["auth"]).env("JWT_SECRET", "short").env("RATE_LIMIT_STRICT", "off").run().await;
    assert_eq!(told.code, Some(78), "{}", told.output);
    for name in ["JWT_SECRET: ", "JWT_REFRESH_SECRET: is required", "PUBLIC_URL: is required", "RATE_LIMIT_STRICT: "] {
        assert!(told.output.contains(name), "{name} in:\n{}", told.output);
    }
    assert!(!told.output.contains("short"), "{}", told.output);

    let told = afd(&["backend"]).run().await;
    assert_eq!(told.code, Some(78), "{}", told.output);
    for name in ["JWT_SECRET: is required", "AUTH_SERVICE_URL: is required"] {
        assert!(told.output.contains(name), "{name} in:\n{}", told.output);
    }
}

#[tokio::test]
async fn a_bad_configuration_leaves_no_trace() {
    let port = free_port();
    let launch = afd(&["auth"]).env("PORT", port.to_string());
    assert_eq!(launch.run().await.code, Some(78));
    assert!(!launch.folder().join("data").exists(), "no database was made");
    assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok(), "the port is free");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let told = afd(&["dev", "--auth-port", &port, "--backend-port", "0"]).run().await;
    assert_eq!(told.code, Some(1));
    assert!(told.output.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{}", told.output);
}

#[tokio::test]
async fn a_healthcheck_tells_by_its_exit_code() {
    let port = free_port().to_string();
    let nobody = afd(&["healthcheck", &format!("http://127.0.0.1:{port}")]).run().await;
    assert_eq!(nobody.code, Some(1), "{}", nobody.output);
    assert!(nobody.output.contains("does not answer"), "{}", nobody.output);
}

#[tokio::test]
async fn verifying_a_database_that_is_not_there_makes_none() {
    let launch = afd(&["audit", "verify"]);
    let told = launch.run().await;
    assert_eq!(told.code, Some(1));
    assert!(told.output.contains("there is no database at ./data/auth.db"), "{}", told.output);
    assert!(!launch.folder().join("data").exists());
}
