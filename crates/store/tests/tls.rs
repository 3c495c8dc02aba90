//! PostgreSQL over TLS: who presents the wrong certificate is not talked to.

use std::time::Duration;

use store::{Options, Store, StoreError};
use testkit::Postgres;

/// Made by the server's own user, in its own folder. openssl asks nothing.
const CERTIFICATE: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=test \
                           -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";

fn options() -> Options {
    Options { start_up_wait: Duration::from_secs(1), ..Options::default() }
}

#[tokio::test]
async fn only_the_right_certificate_authority_is_believed() {
    let postgres = Postgres::start();
    let database = postgres.database();
    for name in ["server", "other"] {
        let make = format!("{CERTIFICATE} -keyout {name}.key -out {name}.crt");
        postgres.sql(&database, &format!("COPY (SELECT 1) TO PROGRAM '{make}'"));
    }
    postgres.sql(&database, "ALTER SYSTEM SET ssl = on");
    postgres.sql(&database, "SELECT pg_reload_conf()");
    let folder = tempfile::tempdir().unwrap();
    let authority = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, postgres.sql(&database, &format!("SELECT pg_read_file('{name}.crt')"))).unwrap();
        format!("{database}?sslmode=verify-full&sslrootcert={}", path.display())
    };
    let (right, wrong) = (authority("server"), authority("other"));

    // The server reads its configuration when it gets round to it.
    while postgres.sql(&database, "SHOW ssl") != "on" {}
    let store = Store::open(&right, &options()).await.unwrap();
    store.migrate().await.unwrap();
    store.ping().await.unwrap();
    let encrypted = "SELECT COUNT(*) > 0 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE ssl AND datname = current_database() AND pid <> pg_backend_pid()";
    assert_eq!(postgres.sql(&database, encrypted), "t");

    assert!(matches!(Store::open(&wrong, &options()).await, Err(StoreError::Unavailable(_))), "another authority");
    let elsewhere = right.replace("127.0.0.1", "localhost");
    assert!(Store::open(&elsewhere, &options()).await.is_err(), "a name that is not in the certificate");
}
