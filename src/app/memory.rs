//! How the system's allocator is set for this process.
//!
//! sled allocates and frees buffers of megabytes with each segment. glibc answers the first such
//! `free` by serving the next ones from its heap (it raises `M_MMAP_THRESHOLD` by itself, see
//! mallopt(3)), where small blocks between them keep the memory from going back: the service
//! then settles at twice what it needs, after minutes. Fixed thresholds keep it flat from the
//! first second.
#![expect(
    unsafe_code,
    reason = "mallopt has no safe wrapper, and an environment variable would \
                                 have to be set by whoever starts the program"
)]

/// Blocks of this many bytes have pages of their own, which go back when they are freed; and as
/// much free memory at the heap's top goes back too. glibc's own starting value.
const THRESHOLD: libc::c_int = 128 * 1024;

/// Fixes the thresholds. To be called before any other thread runs.
pub fn keep_flat() {
    for option in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: mallopt only changes the allocator's parameters; it takes two numbers and
        // no pointer, and no other thread runs yet that could allocate meanwhile.
        let taken = unsafe { libc::mallopt(option, THRESHOLD) };
        if taken == 0 {
            tracing::debug!("the allocator keeps its own thresholds");
        }
    }
}
