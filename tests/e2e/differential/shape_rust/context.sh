mkdir src; echo 'fn main() {}' > src/main.rs; echo '[package]' > Cargo.toml
