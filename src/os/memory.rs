//! The allocator: memory that is freed goes back to the system. One of the crate's homes of `unsafe`.
#![allow(unsafe_code)]

/// An allocation of this size or more, such as a chunk of connections, is mapped by itself and
/// unmapped when freed. By default glibc raises the threshold whenever such a one is freed, and
/// then keeps the next in a heap, with a hole left behind.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_ALLOCATION_BYTES: i32 = 128 * 1024;
/// What a heap may keep free at its end, where trimming doesn't reach: each reactor has a heap.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAP_SLACK_BYTES: i32 = 16 * 1024;

/// Makes the allocator give back what is freed: large allocations at once, and all but a little of
/// a heap's end.
pub(crate) fn keep_little_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt(3) takes any numbers; what it doesn't like it refuses.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_ALLOCATION_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, HEAP_SLACK_BYTES);
        libc::mallopt(libc::M_TOP_PAD, HEAP_SLACK_BYTES);
    }
}

/// Gives the system what the allocator holds free.
pub(crate) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim(3) may be called by any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
