//! The documents that are generated from the code.

/// The auth service's OpenAPI document.
pub(crate) fn openapi() -> String {
    auth::openapi()
}

/// The backend's GraphQL schema.
pub(crate) fn schema() -> String {
    backend::sdl()
}
