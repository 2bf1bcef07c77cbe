//! Compiles the C programs of this folder with clang. Where clang or its headers are missing the
//! edge is built without them, and the build says what to install.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every program of this folder, by file name without `.bpf.c`.
const PROGRAMS: [&str; 1] = ["pass"];

fn main() {
    println!("cargo:rustc-check-cfg=cfg(ebpf)");
    println!("cargo:rerun-if-changed=ebpf");
    println!("cargo:rerun-if-env-changed=CLANG");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut built = true;
    for program in PROGRAMS {
        let source = Path::new("ebpf").join(format!("{program}.bpf.c"));
        let object = out.join(format!("{program}.bpf.o"));
        if let Err(reason) = compile(&source, &object) {
            for line in reason.lines() {
                println!("cargo:warning={line}");
            }
            built = false;
        }
        let variable = format!("RINGFENCE_BPF_{}", program.to_uppercase());
        println!("cargo:rustc-env={variable}={}", object.display());
    }
    if built {
        println!("cargo:rustc-cfg=ebpf");
    } else {
        println!("cargo:warning=the kernel filter is left out of this build");
        // A path that never exists is always changed: once clang is installed, it is found.
        println!("cargo:rerun-if-changed=ebpf/.not-built");
    }
}

/// Compiles one program. An error in the program itself fails the build; a missing compiler or
/// header is returned as what to install.
fn compile(source: &Path, object: &Path) -> Result<(), String> {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let mut command = Command::new(&clang);
    command.args([
        "-O2", "-g", "-target", "bpf", "-Wall", "-Wextra", "-Werror", "-Wpadded",
    ]);
    // The bpf target has no architecture folder of its own: asm/types.h lies in the host's.
    let machine = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    for triplet in [
        format!("/usr/include/{machine}-linux-gnu"),
        "/usr/include".to_owned(),
    ] {
        command.arg("-isystem").arg(triplet);
    }
    command.arg("-c").arg(source).arg("-o").arg(object);
    let output = command
        .output()
        .map_err(|error| format!("{clang}: {error}; install it with: apt-get install clang"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let missing = |header: &str| text.contains(&format!("'{header}")) && text.contains("not found");
    if missing("bpf/") {
        return Err(
            "bpf/bpf_helpers.h is missing; install it with: apt-get install libbpf-dev".to_owned(),
        );
    }
    if missing("linux/") || missing("asm/") {
        return Err("the kernel's headers are missing; install them with: \
                    apt-get install linux-libc-dev"
            .to_owned());
    }
    if text.contains("unknown target triple") || text.contains("No available targets") {
        return Err(format!(
            "{clang} cannot compile for bpf; install it with: apt-get install clang"
        ));
    }
    panic!("{} does not compile:\n{text}", source.display());
}
