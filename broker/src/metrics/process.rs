//! What the kernel knows of this process.

use std::fs;

/// Memory, processor time and files of this process; nothing where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    /// Bytes in memory.
    pub(super) resident_bytes: Option<f64>,
    /// Seconds of processor time, own and of the kernel.
    pub(super) cpu_seconds: Option<f64>,
    /// Open files.
    pub(super) open_files: Option<f64>,
}

impl Process {
    pub(super) fn now() -> Process {
        Process {
            resident_bytes: resident_bytes(),
            cpu_seconds: cpu_seconds(),
            open_files: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|files| files.count() as f64),
        }
    }
}

fn resident_bytes() -> Option<f64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as f64)
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program is in parentheses and may hold anything; fields are counted behind.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let own: f64 = fields.next()?.parse().ok()?;
    let of_kernel: f64 = fields.next()?.parse().ok()?;
    Some((own + of_kernel) / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_time_and_files() {
        let begun = std::time::Instant::now();
        let mut sum = 0_u64;
        while begun.elapsed() < std::time::Duration::from_millis(50) {
            sum = sum.wrapping_add(1);
        }
        assert!(sum > 0);
        let process = Process::now();
        assert!(
            process.resident_bytes.is_some_and(|bytes| bytes > 1e6),
            "{process:?}"
        );
        assert!(
            process.cpu_seconds.is_some_and(|seconds| seconds > 0.01),
            "{process:?}"
        );
        assert!(
            process.open_files.is_some_and(|files| files >= 3.0),
            "{process:?}"
        );
    }
}
