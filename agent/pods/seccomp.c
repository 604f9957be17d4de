/* seccomp - the default profile as a runtime spec's linux.seccomp: refused are calls that reach into the kernel or out of the container. */
#include "agent/pods/pods_int.h"

/* Everything not named here is allowed: a deny list keeps new system calls of libraries working.
 * Source: the calls Docker's documentation lists as blocked by the default profile. */
static const char profile[] =
    "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":["
    "\"acct\",\"add_key\",\"bpf\",\"clock_adjtime\",\"clock_settime\",\"create_module\",\"delete_module\",\"finit_module\",\"fsconfig\",\"fsmount\","
    "\"fsopen\",\"fspick\",\"get_kernel_syms\",\"get_mempolicy\",\"init_module\",\"io_uring_enter\",\"io_uring_register\",\"io_uring_setup\",\"ioperm\","
    "\"iopl\",\"kcmp\",\"kexec_file_load\",\"kexec_load\",\"keyctl\",\"lookup_dcookie\",\"mbind\",\"mount\",\"mount_setattr\",\"move_mount\",\"move_pages\","
    "\"nfsservctl\",\"open_by_handle_at\",\"open_tree\",\"perf_event_open\",\"personality\",\"pivot_root\",\"process_vm_readv\",\"process_vm_writev\","
    "\"query_module\",\"quotactl\",\"quotactl_fd\",\"reboot\",\"request_key\",\"set_mempolicy\",\"setns\",\"settimeofday\",\"stime\",\"swapoff\",\"swapon\","
    "\"sysfs\",\"_sysctl\",\"umount\",\"umount2\",\"unshare\",\"uselib\",\"userfaultfd\",\"ustat\",\"vm86\",\"vm86old\""
    "],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":1}]}";

const char *seccomp_default(void)
{
    return profile;
}
