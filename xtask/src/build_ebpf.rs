//! `build-ebpf`: the XDP programs, as objects in `target/ebpf`.
//!
//! They need a nightly compiler with its library's source, and `bpf-linker` built against the LLVM of that compiler's
//! major version. What is missing is fetched: the toolchain by rustup, LLVM by apt, the linker by cargo into
//! `target/tools`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{debian, step, workspace};

/// The linker, and the majors of LLVM that it can be built against.
const LINKER: &str = "0.10.4";
const LLVM_MAJORS: [u32; 2] = [21, 22];
/// The nightly that is fetched where no usable one is installed: known to build the programs with that linker.
const NIGHTLY: &str = "nightly-2026-05-20";
/// The cargo binaries.
const PROGRAMS: [&str; 2] = ["rollcall-xdp", "fleet-xdp"];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "build-ebpf takes no arguments, found: {}", arguments.join(" "));
    let toolchain = toolchain()?;
    ensure_source(&toolchain)?;
    let linker = linker(toolchain.llvm)?;
    build(&toolchain, &linker)?;
    install()
}

/// A nightly toolchain.
struct Toolchain {
    name: String,
    llvm: u32,
}

fn toolchain() -> Result<Toolchain> {
    ensure!(
        step::in_path("rustup"),
        "build-ebpf needs a nightly compiler and gets it by rustup, which is not in the PATH; \
         install it as https://rustup.rs says"
    );
    let installed = ["nightly", NIGHTLY].iter().find_map(|name| usable(name));
    if let Some(toolchain) = installed {
        return Ok(toolchain);
    }
    for name in [NIGHTLY, "nightly"] {
        let fetched = step::run(rustup().args(["toolchain", "install", name, "--profile", "minimal", "--component", "rust-src"]));
        match (fetched, usable(name)) {
            (Ok(()), Some(toolchain)) => return Ok(toolchain),
            (Ok(()), None) => {}
            (Err(error), _) => eprintln!("xtask: {error:#}"),
        }
    }
    bail!(
        "no nightly compiler with LLVM {} or {} could be had; run: \
         rustup toolchain install {NIGHTLY} --profile minimal --component rust-src",
        LLVM_MAJORS[0],
        LLVM_MAJORS[1]
    )
}

/// The toolchain, where it is installed and its LLVM is one that the linker can be built against.
fn usable(name: &str) -> Option<Toolchain> {
    let version = step::output(rustup().args(["run", name, "rustc", "-vV"]))?;
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    let llvm = llvm.split('.').next()?.parse().ok()?;
    LLVM_MAJORS.contains(&llvm).then(|| Toolchain { name: name.into(), llvm })
}

fn ensure_source(toolchain: &Toolchain) -> Result<()> {
    let sysroot = step::output(rustup().args(["run", &toolchain.name, "rustc", "--print", "sysroot"]))
        .context("the nightly compiler does not say where it is installed")?;
    if Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/Cargo.lock").exists() {
        return Ok(());
    }
    let mut command = rustup();
    command.args(["component", "add", "rust-src", "--toolchain", &toolchain.name]);
    step::run(&mut command).with_context(|| format!("run: {}", step::text(&command)))
}

/// The linker, built where it is missing or was built against another LLVM.
fn linker(llvm: u32) -> Result<PathBuf> {
    let tools = workspace::target().join("tools");
    let linker = tools.join("bin/bpf-linker");
    let feature = format!("llvm-{llvm}");
    // cargo's own record of what it installed there, and with which features.
    let record = fs::read_to_string(tools.join(".crates2.json")).unwrap_or_default();
    if linker.exists() && record.contains(&format!("bpf-linker {LINKER} ")) && record.contains(&format!("{feature:?}")) {
        return Ok(linker);
    }
    let prefix = match std::env::var("LLVM_PREFIX") {
        Ok(prefix) => prefix,
        Err(_) => {
            let (dev, polly) = (format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev"));
            debian::ensure(&[&dev, &polly, "zlib1g-dev", "libzstd-dev", "gcc", "g++", "libc6-dev"], "building bpf-linker")
                .with_context(|| format!("build-ebpf needs LLVM {llvm} (or LLVM_PREFIX set to where it is)"))?;
            format!("/usr/lib/llvm-{llvm}")
        }
    };
    let mut command = workspace::cargo();
    command.args(["install", "bpf-linker", "--version", LINKER, "--locked", "--no-default-features", "--features", &feature]);
    command.arg("--root").arg(&tools).env("LLVM_PREFIX", prefix);
    // A folder of its own: the workspace's target may be locked by another cargo, and the leavings are large.
    let scratch = tools.join("build");
    command.arg("--target-dir").arg(&scratch);
    let built = step::run(&mut command);
    let _ = fs::remove_dir_all(&scratch);
    built.with_context(|| format!("bpf-linker could not be built; run: {}", step::text(&command)))?;
    Ok(linker)
}

fn build(toolchain: &Toolchain, linker: &Path) -> Result<()> {
    let mut command = rustup();
    command.args(["run", &toolchain.name, "cargo", "build", "--package", "rollcall-agent-ebpf", "--features", "programs", "--bins"]);
    command.args(["--release", "--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"]);
    command.arg(build_folder());
    // aya-ebpf chooses the kernel's register layout by the architecture that the program will run on.
    let flags = [
        format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        format!("-Clinker={}", linker.display()),
        // The same objects wherever the checkout is.
        format!("--remap-path-prefix={}=.", workspace::root().display()),
    ];
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    let outcome = if PROGRAMS.iter().all(|binary| folder().join(binary).exists()) {
        step::run_silently(command.arg("--quiet"))
    } else {
        step::run(&mut command)
    };
    outcome.context("the XDP programs could not be built")
}

/// Copies the objects to `target/ebpf`, each only when it changed: whoever embeds one is then not rebuilt in vain.
fn install() -> Result<()> {
    let folder = folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for binary in PROGRAMS {
        let built = build_folder().join("bpfel-unknown-none/release").join(binary);
        let object = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
        check(&object).with_context(|| format!("{} is not what it should be", built.display()))?;
        let place = folder.join(binary);
        if fs::read(&place).is_ok_and(|present| present == object) {
            continue;
        }
        // By a rename, so that nobody ever reads half an object.
        let draft = folder.join(format!(".{binary}.{}", std::process::id()));
        fs::write(&draft, &object)
            .and_then(|()| fs::rename(&draft, &place))
            .with_context(|| format!("cannot write {}", place.display()))?;
        eprintln!("xtask: {} is new ({} bytes)", place.display(), object.len());
    }
    Ok(())
}

/// A little-endian ELF object for BPF (machine 247) with a program, maps and type information in it.
fn check(object: &[u8]) -> Result<()> {
    ensure!(object.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit little-endian ELF object");
    ensure!(object.get(18..20) == Some(&247u16.to_le_bytes()[..]), "not an object for BPF");
    for section in ["xdp", "maps", ".BTF"] {
        // The string table may keep a name as the end of a longer one.
        let name = [section.as_bytes(), b"\0"].concat();
        ensure!(object.windows(name.len()).any(|window| window == name), "it has no section {section:?}");
    }
    Ok(())
}

/// Where the objects are taken from, by the agent's build and by the lab: always under the workspace.
fn folder() -> PathBuf {
    workspace::root().join("target/ebpf")
}

fn build_folder() -> PathBuf {
    workspace::target().join("ebpf-build")
}

/// rustup, without what the cargo that runs us says about its own toolchain and flags.
fn rustup() -> Command {
    let mut command = Command::new("rustup");
    command.current_dir(workspace::root());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let own = ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"];
        let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BUILD_", "CARGO_ENCODED_", "CARGO_PROFILE_"];
        if own.contains(&&*name) || prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&*name);
        }
    }
    command
}
