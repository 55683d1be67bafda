//! Attacks on the unpacker, and what honest layers rely on. Needs root (devices, trusted attributes).

use super::*;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// Writes the name into the header byte by byte: the builder's own checks would refuse the attacks.
    fn raw(mut self, name: &str, kind: tar::EntryType, link: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        {
            let gnu = header.as_gnu_mut().unwrap();
            gnu.name[..name.len()].copy_from_slice(name.as_bytes());
            gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.raw(name, tar::EntryType::Regular, "", content.as_bytes())
    }
    fn dir(self, name: &str) -> Self {
        self.raw(name, tar::EntryType::Directory, "", b"")
    }
    fn link(self, name: &str, target: &str) -> Self {
        self.raw(name, tar::EntryType::Symlink, target, b"")
    }
    fn hard(self, name: &str, target: &str) -> Self {
        self.raw(name, tar::EntryType::Link, target, b"")
    }
    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A layer directory beside a victim directory that must stay as it is.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("layer")).unwrap();
        std::fs::create_dir(dir.path().join("host")).unwrap();
        std::fs::write(dir.path().join("host/secret"), "secret").unwrap();
        Self { dir }
    }
    fn layer(&self) -> PathBuf {
        self.dir.path().join("layer")
    }
    fn unpack(&self, tar: Tar) -> Result<()> {
        unpack(tar.bytes().as_slice(), &self.layer(), 1000)
    }
    fn assert_host_untouched(&self) {
        let names: Vec<_> = std::fs::read_dir(self.dir.path().join("host"))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["secret"]);
        let secret = self.dir.path().join("host/secret");
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
        assert_eq!(secret.metadata().unwrap().nlink(), 1);
    }
}

#[test]
fn dot_dot_is_refused_and_absolute_paths_are_confined() {
    let place = Place::new();
    assert!(place.unpack(Tar::new().file("../host/x", "x")).is_err());
    assert!(place.unpack(Tar::new().file("a/../../host/x", "x")).is_err());
    place.unpack(Tar::new().file("/abs/x", "x")).unwrap();
    assert_eq!(std::fs::read_to_string(place.layer().join("abs/x")).unwrap(), "x");
    place.assert_host_untouched();
}

#[test]
fn links_cannot_lead_an_entry_out_of_the_layer() {
    let place = Place::new();
    let host = place.dir.path().join("host");
    let host = host.to_str().unwrap();
    place.unpack(Tar::new().link("out", host).file("out/x", "x")).unwrap();
    place.unpack(Tar::new().link("up", "../../host").file("up/x", "x")).unwrap();
    place.unpack(Tar::new().link("f", &format!("{host}/secret")).file("f", "overwritten")).unwrap();
    assert_eq!(std::fs::read_to_string(place.layer().join("f")).unwrap(), "overwritten");
    place.assert_host_untouched();
}

#[test]
fn hard_links_reach_only_files_of_the_layer() {
    let place = Place::new();
    let host = place.dir.path().join("host");
    let host = host.to_str().unwrap();
    assert!(place.unpack(Tar::new().hard("h", "../host/secret")).is_err());
    assert!(place.unpack(Tar::new().hard("h", &format!("{host}/secret"))).is_err());
    assert!(place.unpack(Tar::new().link("out", host).hard("h", "out/secret")).is_err());
    assert!(place.unpack(Tar::new().hard("h", ".wh.x")).is_err());
    assert!(place.unpack(Tar::new().hard("h", ".")).is_err());
    place.unpack(Tar::new().file("a", "1").hard("b", "a")).unwrap();
    assert_eq!(place.layer().join("b").metadata().unwrap().nlink(), 2);
    place.assert_host_untouched();
}

#[test]
fn whiteouts_stay_in_their_directory() {
    let place = Place::new();
    for bad in [".wh..", ".wh...", ".wh.", ".wh.a/../../b"] {
        assert!(place.unpack(Tar::new().file(bad, "")).is_err(), "{bad}");
    }
    place
        .unpack(
            Tar::new().file("d/.wh.gone", "").dir("o").file("o/.wh..wh..opq", "").file(".wh..wh..opq", ""),
        )
        .unwrap();
    let gone = place.layer().join("d/gone").symlink_metadata().unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let opaque = |path: &str| xattr::get(place.layer().join(path), "trusted.overlay.opaque").unwrap();
    assert_eq!(opaque("o").unwrap(), b"y");
    assert_eq!(opaque("").unwrap(), b"y");
    assert!(xattr::get(place.layer().parent().unwrap(), "trusted.overlay.opaque").unwrap().is_none());
    place.assert_host_untouched();
}

#[test]
fn images_cannot_set_overlay_attributes() {
    let place = Place::new();
    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append_pax_extensions([
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc".as_slice()),
            ("SCHILY.xattr.user.note", b"kept".as_slice()),
        ])
        .unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("f").unwrap();
    header.set_size(0);
    header.set_mode(0o4755);
    header.set_uid(5);
    header.set_gid(6);
    header.set_mtime(7);
    header.set_cksum();
    builder.append(&header, &b""[..]).unwrap();
    unpack(builder.into_inner().unwrap().as_slice(), &place.layer(), 10).unwrap();
    let file = place.layer().join("f");
    assert!(xattr::get(&file, "trusted.overlay.redirect").unwrap().is_none());
    assert_eq!(xattr::get(&file, "user.note").unwrap().unwrap(), b"kept");
    let found = file.metadata().unwrap();
    assert_eq!((found.uid(), found.gid(), found.mtime()), (5, 6, 7));
    assert_eq!(found.permissions().mode() & 0o7777, 0o4755);
}

#[test]
fn too_many_entries_and_broken_tars_stop() {
    let place = Place::new();
    let many = (0..20).fold(Tar::new(), |tar, i| tar.file(&format!("f{i}"), ""));
    assert!(unpack(many.bytes().as_slice(), &place.layer(), 10).is_err());
    assert!(unpack(&[7_u8; 4096][..], &place.layer(), 10).is_err());
    let cut = Tar::new().file("cut", &"x".repeat(2000)).bytes();
    assert!(unpack(&cut[..900], &place.layer(), 10).is_err());
}

#[test]
fn header_that_asks_for_gigabytes_is_refused() {
    let place = Place::new();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(3 << 30);
    header.set_cksum();
    let input = header.as_bytes().as_slice().chain(std::io::repeat(b'a').take(3 << 30));
    assert!(unpack(input, &place.layer(), 10).is_err());
}
