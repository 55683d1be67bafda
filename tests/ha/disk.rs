//! A disk of one machine: an ext4 on a loop device, so that it can hang, be full, or lose its power.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::run;

/// Room for the store's logs, its state and what it keeps free.
const BYTES: u64 = 1 << 30;

/// Mounted until it is dropped.
pub(crate) struct Disk {
    image: PathBuf,
    mount_point: PathBuf,
}

impl Disk {
    /// A new one below `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        let disk = Self { image: dir.join("image"), mount_point: dir.join("disk") };
        std::fs::File::create(&disk.image).unwrap().set_len(BYTES).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk.image), "").ok();
        std::fs::create_dir(&disk.mount_point).unwrap();
        disk.mount();
        disk
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mount_point
    }

    fn mount(&self) {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount_point), "").ok();
    }

    /// Whoever writes waits, until [`Disk::thaw`].
    pub(crate) fn freeze(&self) {
        run(Command::new("fsfreeze").arg("--freeze").arg(&self.mount_point), "").ok();
    }

    /// Ends that.
    pub(crate) fn thaw(&self) {
        run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.mount_point), "").ok();
    }

    /// Twenty writes a second, for this process.
    pub(crate) fn be_slow_for(&self, process: u32) {
        let group = self.slow_group();
        assert!(group.parent().unwrap().is_dir(), "a slow disk needs the blkio controller of cgroup v1");
        std::fs::create_dir(&group).unwrap();
        let device = run(Command::new("findmnt").args(["-no", "MAJ:MIN"]).arg(&self.mount_point), "").ok();
        std::fs::write(group.join("blkio.throttle.write_iops_device"), format!("{} 20", device.trim()))
            .unwrap();
        std::fs::write(group.join("cgroup.procs"), process.to_string()).unwrap();
    }

    /// Ends that.
    pub(crate) fn be_quick(&self) {
        let group = self.slow_group();
        for process in std::fs::read_to_string(group.join("cgroup.procs")).unwrap().lines() {
            std::fs::write("/sys/fs/cgroup/blkio/cgroup.procs", process).unwrap();
        }
        std::fs::remove_dir(group).unwrap();
    }

    /// Named after the directory, which is this disk's own.
    fn slow_group(&self) -> PathBuf {
        let name = self.image.parent().and_then(Path::file_name).unwrap();
        Path::new("/sys/fs/cgroup/blkio").join(name)
    }

    /// For a test that fails.
    pub(crate) fn thaw_if_frozen(&self) {
        drop(Command::new("fsfreeze").arg("--unfreeze").arg(&self.mount_point).output());
    }

    /// Leaves a few pages.
    pub(crate) fn fill(&self) {
        let free = run(Command::new("df").args(["--output=avail", "-k"]).arg(&self.mount_point), "").ok();
        let free: u64 = free.lines().nth(1).unwrap().trim().parse().unwrap();
        let size = format!("{}k", free.saturating_sub(64));
        run(Command::new("fallocate").args(["-l", &size]).arg(self.filler()), "").ok();
    }

    /// Ends that.
    pub(crate) fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.mount_point.join("filler")
    }

    /// From here on nothing reaches the disk, not even what waits in its journal.
    pub(crate) fn cut_power(&self) {
        let shut_down = r#"my $flags = pack("L", 2); open(my $root, "<", $ARGV[0]) or die $!; ioctl($root, 0x8004587d, $flags) or die $!"#;
        run(Command::new("perl").args(["-e", shut_down]).arg(&self.mount_point), "").ok();
    }

    /// Puts it back after that; nobody uses it.
    pub(crate) fn restore_power(&self) {
        run(Command::new("umount").arg(&self.mount_point), "").ok();
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // As much as there is to undo: what fails here must not hide the test's failure.
        self.thaw_if_frozen();
        drop(std::fs::remove_dir(self.slow_group()));
        drop(Command::new("umount").arg("--lazy").arg(&self.mount_point).output());
    }
}
