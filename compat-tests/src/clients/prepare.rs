//! What client programs need, made once: a folder of the cache named by a hash of the lock file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::Duration;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::files;
use crate::process::Process;

/// How long a package manager may take, builds included.
pub const FETCH_TIME_MAX: Duration = Duration::from_secs(600);

/// The folder `<cache>/<name>-<hash of key>/<part>`, made by `make` if it is not there.
pub fn once(
    ctx: &Context,
    name: &str,
    key: &[u8],
    part: &str,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let home = ctx.cache()?.join(format!("{name}-{:016x}", fnv1a(key)));
    let whole = home.join(part);
    if whole.is_dir() {
        return Ok(whole);
    }
    files::make_dir(&home)?;
    // Under another name until it is whole: an interrupted download must not look like a cache,
    // and two runs at once must not write into one folder.
    let partial = home.join(format!("{part}.{}", process::id()));
    eprintln!("preparing {name} in {}", whole.display());
    if let Err(error) = make(&partial) {
        // Half of it is no use to anybody; what said why is the log, which is elsewhere.
        if partial.exists() {
            files::remove_dir(&partial)?;
        }
        return Err(error);
    }
    if let Err(error) = fs::rename(&partial, &whole) {
        if !whole.is_dir() {
            return Err(Error::io(format!("rename {}", partial.display()))(error));
        }
        // Another run was first; what it made is the same.
        fs::remove_dir_all(&partial).map_err(Error::io(format!("remove {}", partial.display())))?;
    }
    Ok(whole)
}

/// Runs a package manager to its end, which must be a success. `name` names its log.
pub fn tool(ctx: &Context, name: &str, step: &str, command: &mut Command) -> Result<()> {
    let log = ctx.work().join(format!("{name}.log"));
    Process::start(step, command, &log, &log)?.finish(FETCH_TIME_MAX)
}

/// The jars a pom asks for; Maven is only needed the first time.
pub fn maven(ctx: &Context, name: &str, pom: &Path) -> Result<PathBuf> {
    once(ctx, name, &files::read(pom)?, "libs", |partial| {
        let mut maven = Command::new("mvn");
        maven
            .args(["-q", "-B", "dependency:copy-dependencies", "-f"])
            .arg(pom)
            .arg(format!("-DoutputDirectory={}", partial.display()));
        let step = format!("fetch {name} with Maven");
        tool(ctx, &format!("maven-{name}"), &step, &mut maven)
    })
}

/// FNV-1a: only names a folder, and must be the same tomorrow.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
