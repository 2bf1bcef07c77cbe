//! Whether io_uring may be used here, and what forbids it.

use std::io;

use io_uring::{IoUring, Probe, opcode};

use super::{COMPLETION_ENTRIES, SUBMISSION_ENTRIES};

/// The switch of the kernel.
const SWITCH: &str = "/proc/sys/kernel/io_uring_disabled";

/// A ring for the calling thread, which alone may use it.
pub(in crate::shard) fn build() -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(COMPLETION_ENTRIES)
        .dontfork()
        .build(SUBMISSION_ENTRIES)
}

/// Tries a ring and its operations.
///
/// # Errors
/// What forbids it, in words.
pub(in crate::shard) fn is_available() -> Result<(), String> {
    let ring = build().map_err(|error| refusal(&error, std::fs::read_to_string(SWITCH).ok()))?;
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| format!("its operations can not be listed: {error}"))?;
    let needed = [
        ("RECVMSG", opcode::RecvMsgMulti::CODE),
        ("SEND", opcode::Send::CODE),
        ("READ", opcode::Read::CODE),
        ("ASYNC_CANCEL", opcode::AsyncCancel2::CODE),
    ];
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(_, code)| !probe.is_supported(*code))
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "this kernel's io_uring lacks {}",
            missing.join(", ")
        ))
    }
}

/// What forbids io_uring, from the error of its set-up and the kernel's switch.
fn refusal(error: &io::Error, switch: Option<String>) -> String {
    let switch = switch.as_deref().map(str::trim);
    match (error.raw_os_error(), switch) {
        (Some(libc::EPERM), Some(value @ ("1" | "2"))) => format!(
            "io_uring is forbidden by kernel.io_uring_disabled = {value}; \
             sysctl kernel.io_uring_disabled=0 permits it"
        ),
        (Some(libc::EPERM | libc::EACCES), _) => {
            "io_uring is forbidden by a seccomp filter or security module (containers often have \
             one); permit the system calls io_uring_setup, io_uring_enter and io_uring_register"
                .to_owned()
        }
        (Some(libc::ENOSYS), _) => {
            "this kernel has no io_uring, or a seccomp filter hides it".to_owned()
        }
        (Some(libc::EINVAL), _) => {
            "this kernel's io_uring is too old: 6.1 or later is needed".to_owned()
        }
        (Some(libc::ENOMEM), _) => {
            "memory for the ring is refused; raise the locked-memory limit (ulimit -l)".to_owned()
        }
        _ => format!("io_uring can not be set up: {error}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_forbids_it() {
        let error = io::Error::from_raw_os_error;
        let switched = refusal(&error(libc::EPERM), Some("2\n".to_owned()));
        assert!(
            switched.contains("kernel.io_uring_disabled = 2"),
            "{switched}"
        );
        let filtered = refusal(&error(libc::EPERM), Some("0\n".to_owned()));
        assert!(filtered.contains("seccomp"), "{filtered}");
        assert!(refusal(&error(libc::ENOSYS), None).contains("no io_uring"));
        assert!(refusal(&error(libc::EINVAL), None).contains("too old"));
    }

    #[test]
    fn this_machine_has_io_uring() {
        assert_eq!(is_available(), Ok(()));
    }
}
