//! Makes the allocator return freed memory to the system. Contains `unsafe` code.
#![allow(unsafe_code)]

/// Allocations of this size or more, such as a chunk of connections, get a mapping of their own,
/// which is unmapped when they are freed. Without a fixed threshold, glibc raises it each time a
/// mapped allocation is freed and then places the next one in a heap, where it leaves a hole.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_ALLOCATION_BYTES: i32 = 128 * 1024;
/// Free memory that a heap may keep at its end, where trimming doesn't reach. Each reactor has a
/// heap.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAP_SLACK_BYTES: i32 = 16 * 1024;

/// Makes the allocator return freed memory: large allocations at once, and the end of a heap except
/// for a small slack.
pub(crate) fn keep_little_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt(3) accepts any numbers and rejects those that it can't use.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_ALLOCATION_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, HEAP_SLACK_BYTES);
        libc::mallopt(libc::M_TOP_PAD, HEAP_SLACK_BYTES);
    }
}

/// Returns the allocator's free memory to the system.
pub(crate) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim(3) may be called by any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
