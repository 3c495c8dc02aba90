//! Makes cargo notice a new migration: `sqlx::migrate!` embeds the folder's content but cannot tell cargo to watch it.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
