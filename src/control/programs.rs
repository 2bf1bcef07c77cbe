//! The eBPF programs of `ebpf/`, as compiled into this binary.

/// The object of `ebpf/pass.bpf.c`; `None` where clang was missing when this was built.
#[cfg(ebpf)]
pub(super) const PASS: Option<&[u8]> = Some(include_bytes!(env!("RINGFENCE_BPF_PASS")));
/// The object of `ebpf/pass.bpf.c`; `None` where clang was missing when this was built.
#[cfg(not(ebpf))]
pub(super) const PASS: Option<&[u8]> = None;

#[cfg(test)]
mod tests {
    use super::PASS;

    #[test]
    fn the_program_is_an_object_for_the_kernel_s_machine() {
        let object = PASS.expect(
            "the kernel filter is left out of this build; install what it needs with: \
             apt-get install clang libbpf-dev linux-libc-dev",
        );
        // ELF, 64 bits, little endian; type 1 = relocatable, machine 247 = EM_BPF.
        assert_eq!(&object[..6], b"\x7fELF\x02\x01");
        assert_eq!(&object[16..20], [1, 0, 247, 0]);
        let names = String::from_utf8_lossy(object);
        for name in ["ringfence_pass", "frames", ".maps", "Dual MIT/GPL"] {
            assert!(names.contains(name), "{name}");
        }
    }
}
