//! File system steps whose errors name the path.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Makes a folder and its parents.
pub fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io(format!("make folder {}", path.display())))
}

/// Removes a folder with all that is in it.
pub fn remove_dir(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).map_err(Error::io(format!("remove {}", path.display())))
}

/// The whole of a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io(format!("read {}", path.display())))
}

/// The whole of a file as text.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::io(format!("read {}", path.display())))
}

/// Replaces a file's content.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    fs::write(path, content).map_err(Error::io(format!("write {}", path.display())))
}

/// What is in a folder, sorted by name.
pub fn list(path: &Path) -> Result<Vec<PathBuf>> {
    let step = || Error::io(format!("list {}", path.display()));
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(step())? {
        found.push(entry.map_err(step())?.path());
    }
    found.sort();
    Ok(found)
}

/// Copies one file.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .map_err(Error::io(format!("copy {}", from.display())))
}

/// Copies a folder with everything in it for whose name `wanted` says yes.
pub fn copy_dir(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    make_dir(to)?;
    for source in list(from)? {
        let name = name_of(&source);
        if !wanted(&name) {
            continue;
        }
        let target = to.join(&name);
        if source.is_dir() {
            copy_dir(&source, &target, wanted)?;
        } else {
            copy(&source, &target)?;
        }
    }
    Ok(())
}

/// Writes a script that can be run.
pub fn write_program(path: &Path, script: impl AsRef<[u8]>) -> Result<()> {
    write(path, script)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(Error::io(format!("make {} a program", path.display())))
}

/// A path's last part, for names we chose ourselves or Kafka did.
#[must_use]
pub fn name_of(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Reads a JSON file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read(path)?)
        .map_err(|error| Error::refused(format!("read {}", path.display()), error.to_string()))
}

/// Reads a file with one JSON value per line.
pub fn read_json_lines(path: &Path) -> Result<Vec<serde_json::Value>> {
    let parse = |(number, line)| {
        serde_json::from_str(line).map_err(|error| {
            let step = format!("read {}, line {}", path.display(), number + 1);
            Error::refused(step, error.to_string())
        })
    };
    read_text(path)?.lines().enumerate().map(parse).collect()
}

/// Writes a JSON file for people to read.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::refused(format!("write {}", path.display()), error.to_string()))?;
    text.push('\n');
    write(path, text)
}
