//! Embeds the XDP program, which `cargo xtask build-ebpf` builds.

use std::path::Path;

fn main() {
    if std::env::var_os("CARGO_FEATURE_DATAPLANE").is_none() {
        return;
    }
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/rollcall-xdp");
    println!("cargo::rerun-if-changed={}", object.display());
    match object.canonicalize() {
        Ok(object) => println!("cargo::rustc-env=ROLLCALL_XDP={}", object.display()),
        Err(_) => println!("cargo::error=the XDP program is not built yet: run `cargo xtask build-ebpf` first"),
    }
}
