//! A small file system of its own, to be filled. The broker's tests have the same one.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Gone when this is.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// 4 MiB at an empty directory; `None` where this process may not mount, with or without `sudo`.
    pub(crate) fn mount(at: &Path) -> Option<SmallDisk> {
        let size = ["-t", "tmpfs", "-o", "size=4m,mode=777", "reka-test"];
        as_root("mount", |command| command.args(size).arg(at)).then(|| SmallDisk(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that a failed test leaves behind has files open in it.
        as_root("umount", |command| command.arg("-l").arg(&self.0));
    }
}

fn as_root(name: &str, with: impl Fn(&mut Command) -> &mut Command) -> bool {
    let runs = |command: &mut Command| {
        let done = with(command).output();
        done.is_ok_and(|output| output.status.success())
    };
    runs(&mut Command::new(name)) || runs(Command::new("sudo").args(["-n", name]))
}
