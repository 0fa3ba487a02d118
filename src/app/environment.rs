//! Variables of the environment by which C libraries are told what no call of theirs takes.
//!
//! One of four files with `unsafe` in them. It does not know what the variables mean.
#![expect(unsafe_code, reason = "the environment belongs to all threads, and C reads it unlocked")]

/// Sets them for this process. To be called before any other thread runs.
pub fn set(variables: Vec<(&'static str, String)>) {
    for (name, value) in variables {
        // SAFETY: no other thread runs yet that could read the environment meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
}
