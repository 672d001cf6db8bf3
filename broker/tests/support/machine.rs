//! Tests that need more of the machine than a user has: without it they say so and are ignored, except
//! in CI, where they must run. And small file systems in a file, mounted over a loop device.
#![allow(
    dead_code,
    reason = "every test binary uses its own part of this module"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::{Failed, Trial};

/// A test by its name.
pub(crate) type Test = (String, Box<dyn Fn() + Send>);

/// The tests, or what says of each what is missing.
pub(crate) fn trials(missing: Option<String>, tests: Vec<Test>) -> Vec<Trial> {
    let required = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    let trial = |(name, test): Test| {
        let Some(why) = missing.clone() else {
            return Trial::test(name, move || {
                test();
                Ok(())
            });
        };
        let name = match required {
            true => name,
            false => format!("{name} (ignored: {why})"),
        };
        Trial::test(name, move || Err(Failed::from(why))).with_ignored_flag(!required)
    };
    tests.into_iter().map(trial).collect()
}

/// What keeps this process from mounting file systems that these tools make.
pub(crate) fn missing_for_mounts(tools: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("mounting a loop device needs root".to_owned());
    }
    missing_tool(tools)
}

/// The first of these tools that does not start.
pub(crate) fn missing_tool(tools: &[&str]) -> Option<String> {
    tools.iter().find_map(|name| {
        let made = tool(name).arg("-V").output();
        made.err().map(|error| format!("{name}: {error}"))
    })
}

/// A system tool, also where /sbin is not on the path.
pub(crate) fn tool(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// Runs a tool, which must succeed.
pub(crate) fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A file system in a file, unmounted when dropped.
pub(crate) struct LoopDisk {
    dir: tempfile::TempDir,
    mounted: bool,
}

impl LoopDisk {
    /// Makes one of `bytes` with `mkfs`, a command line without the image, and mounts it.
    pub(crate) fn new(bytes: u64, mkfs: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        #[expect(
            clippy::disallowed_methods,
            reason = "the image of the file system, never mapped"
        )]
        std::fs::File::create(&image)
            .unwrap()
            .set_len(bytes)
            .unwrap();
        std::fs::create_dir(dir.path().join("mount")).unwrap();
        succeeds(tool(mkfs[0]).args(&mkfs[1..]).arg(&image));
        let mut disk = Self {
            dir,
            mounted: false,
        };
        disk.mount();
        disk
    }

    /// Where its files are.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    /// Where a broker keeps its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.root().join("data")
    }

    fn mount(&mut self) {
        let image = self.dir.path().join("image");
        succeeds(
            tool("mount")
                .args(["-o", "loop"])
                .arg(image)
                .arg(self.root()),
        );
        self.mounted = true;
    }

    fn unmount(&mut self) {
        succeeds(tool("umount").arg(self.root()));
        self.mounted = false;
    }

    /// What a power cut does: from here on every write fails, and what was neither synced nor written
    /// back is lost (the shutdown ioctl without a flush of the journal).
    pub(crate) fn cut_power(root: &Path) {
        succeeds(tool("xfs_io").args(["-x", "-c", "shutdown"]).arg(root));
    }

    /// The power comes back: the file system recovers from its journal. Nobody may use the old one.
    pub(crate) fn power_on(&mut self) {
        self.unmount();
        self.mount();
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if self.mounted {
            self.unmount();
        }
    }
}
