//! CRC-32C (Castagnoli), the checksum of batches.
//!
//! One function, so that the implementation can change in one place. `crc-fast` picks its path at
//! run time; with AVX-512 and VPCLMULQDQ it is two to four times as fast as the scalar instruction
//! on data that is already in cache, which is where a batch is right after it was received.

/// CRC-32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}
