//! Network namespaces without a name: each lives as long as somebody holds it, so that nothing is
//! left behind however a test ends.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;

use std::io::{Error, Result};

/// A network of its own, its loopback interface up.
pub(crate) struct Namespace(File);

impl Namespace {
    pub(crate) fn new() -> Self {
        let made = std::thread::spawn(|| {
            // SAFETY: `unshare` takes a number; it changes the network of this thread alone, which
            // ends here.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(Error::last_os_error());
            }
            File::open("/proc/thread-self/ns/net")
        });
        let made: Result<File> = made.join().unwrap();
        let namespace = Self(made.unwrap_or_else(|error| {
            panic!(
                "this test makes network namespaces ({error}): run it as root (CAP_SYS_ADMIN and \
                 CAP_NET_ADMIN), for example by sudo -E make test"
            )
        }));
        namespace.run("ip link set lo up");
        namespace
    }

    /// Runs `work` on a thread within this network; its sockets and child processes stay there.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            // SAFETY: `setns` takes a descriptor, open as long as `self` is, and a number; it
            // changes the network of this thread alone, which ends with `work`.
            let entered = unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(entered, 0, "{}", Error::last_os_error());
            work()
        };
        std::thread::scope(|scope| match scope.spawn(enter).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Runs a command, its words separated by spaces; what it printed.
    pub(crate) fn run(&self, line: &str) -> String {
        let mut words = line.split(' ');
        let program = words.next().unwrap();
        let package = match program {
            "nft" => "nftables",
            "sysctl" => "procps",
            _ => "iproute2",
        };
        let output = self.inside(|| Command::new(program).args(words).output());
        let output = output.unwrap_or_else(|error| {
            panic!("{program}: {error}; install it with: apt-get install {package}")
        });
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Lays a cable to another network: an interface `name` with an address in each.
    pub(crate) fn connect(&self, name: &str, address: &str, other: &Self, other_address: &str) {
        let theirs = format!("/proc/{}/fd/{}", std::process::id(), other.0.as_raw_fd());
        self.run(&format!(
            "ip link add name {name} type veth peer name {name} netns {theirs}"
        ));
        for (end, address) in [(self, address), (other, other_address)] {
            end.run(&format!("ip address add {address} dev {name}"));
            end.run(&format!("ip link set {name} up"));
        }
    }
}
