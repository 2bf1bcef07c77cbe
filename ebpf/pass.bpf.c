// The program that stands in the driver until rules are loaded: it passes every frame and counts
// it by address family, so that an operator sees that it is attached and takes traffic.
// One exit; what cannot be attributed is passed.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum family {
	FAMILY_OTHER,
	FAMILY_IPV4,
	FAMILY_IPV6,
	FAMILY_COUNT,
};

// Frames seen, by family; one counter per CPU, so no lock and no shared write.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FAMILY_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} frames SEC(".maps");

static __always_inline enum family classify(const struct xdp_md *frame)
{
	const void *end = (const void *)(long)frame->data_end;
	const struct ethhdr *ethernet = (const void *)(long)frame->data;

	if ((const void *)(ethernet + 1) > end)
		return FAMILY_OTHER;
	switch (ethernet->h_proto) {
	case bpf_htons(ETH_P_IP):
		return FAMILY_IPV4;
	case bpf_htons(ETH_P_IPV6):
		return FAMILY_IPV6;
	default:
		return FAMILY_OTHER;
	}
}

SEC("xdp")
int ringfence_pass(struct xdp_md *frame)
{
	__u32 family = classify(frame);
	__u64 *count = bpf_map_lookup_elem(&frames, &family);

	if (count)
		*count += 1;
	return XDP_PASS;
}

char program_license[] SEC("license") = "Dual MIT/GPL";
