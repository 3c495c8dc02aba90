# docker build --build-arg COMMIT_HASH=$(git rev-parse HEAD) -t afd .
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The folder .git is not copied; `version { commitHash }` and the logs want to know all the same.
ARG COMMIT_HASH=unknown
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package afd && install -D target/release/afd /out/usr/local/bin/afd && \
    install -d /out/data

# A C library, certificate authorities, a user without rights, and nothing to get a shell from.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/usr/local/bin/afd /usr/local/bin/afd
COPY --from=build --chown=nonroot:nonroot /out/data /data
ENV DATABASE_URL=sqlite:///data/auth.db
VOLUME /data
USER nonroot:nonroot
EXPOSE 3001 4000
# At the address and PORT that the service itself was told.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/local/bin/afd", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/afd"]
CMD ["auth"]
