//! Who a container runs as: names from the image's own `/etc/passwd` and `/etc/group`, read without ever leaving its
//! root file system, and numbers within bounds (an overflow must never become root).

use crate::durable;
use crate::failure::{Attempt, Failure, Result};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::path::Path;

/// Largest uid and gid, as Docker has it.
const ID_MAX: u32 = i32::MAX as u32;
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The identity of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Groups that the image's group file adds.
    pub(crate) groups: Vec<u32>,
    /// Home directory by the image's passwd file.
    pub(crate) home: Option<String>,
}

/// Resolves `user[:group]`, each a name or a number; empty is root.
pub(crate) fn resolve_user(rootfs: &Path, text: &str) -> Result<Account> {
    let passwd = read_inside(rootfs, "etc/passwd")?;
    let group = read_inside(rootfs, "etc/group")?;
    resolve(&passwd, &group, text)
}

fn resolve(passwd: &str, group: &str, text: &str) -> Result<Account> {
    let (user, group_wish) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = numeric(user)?;
    let line = passwd.lines().filter_map(PasswdLine::parse).find(|line| match number {
        Some(uid) => line.uid == uid,
        None => line.name == user,
    });
    let mut account = match (&line, number) {
        (Some(line), _) => Account {
            uid: line.uid,
            gid: line.gid,
            groups: groups_of(group, line.name),
            home: Some(line.home.to_owned()).filter(|home| !home.is_empty()),
        },
        (None, Some(uid)) => Account { uid, ..Account::default() },
        (None, None) => {
            return Err(Failure::invalid(format!(
                "unable to find user {user}: no matching entries in passwd file"
            )));
        }
    };
    if let Some(wish) = group_wish.filter(|wish| !wish.is_empty()) {
        account.gid = match numeric(wish)? {
            Some(gid) => gid,
            None => group_id(group, wish).ok_or_else(|| {
                Failure::invalid(format!("unable to find group {wish}: no matching entries in group file"))
            })?,
        };
        account.groups.clear();
    }
    Ok(account)
}

/// A number within bounds, nothing for a name. Anything that looks like a number but is out of bounds is an error.
fn numeric(text: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= ID_MAX => Ok(Some(id)),
        _ => Err(Failure::invalid(format!("uids and gids must be in range 0-{ID_MAX}, not {text}"))),
    }
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> PasswdLine<'a> {
    /// Lines that are not well-formed or out of bounds are no accounts.
    fn parse(line: &'a str) -> Option<Self> {
        let mut parts = line.split(':');
        let name = parts.next().filter(|name| !name.is_empty())?;
        parts.next()?;
        let uid = parts.next()?.parse().ok().filter(|id| *id <= ID_MAX)?;
        let gid = parts.next()?.parse().ok().filter(|id| *id <= ID_MAX)?;
        parts.next();
        let home = parts.next().unwrap_or_default();
        Some(Self { name, uid, gid, home })
    }
}

fn group_lines(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        parts.next()?;
        let gid = parts.next()?.parse().ok().filter(|id| *id <= ID_MAX)?;
        Some((name, gid, parts.next().unwrap_or_default()))
    })
}

fn groups_of(group: &str, user: &str) -> Vec<u32> {
    let member = |members: &str| members.split(',').any(|member| member == user);
    group_lines(group).filter(|(_, _, members)| member(members)).map(|(_, gid, _)| gid).collect()
}

fn group_id(group: &str, wish: &str) -> Option<u32> {
    group_lines(group).find(|(name, _, _)| *name == wish).map(|(_, gid, _)| gid)
}

/// A file of the root file system as text; links are resolved inside it. Empty when absent or no plain file.
fn read_inside(rootfs: &Path, path: &str) -> Result<String> {
    let root =
        rustix::fs::openat(CWD, rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .attempt("opening the root file system")?;
    // NONBLOCK: a FIFO in place of the file must not hang us.
    let opened = rustix::fs::openat2(
        &root,
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    );
    let file = match opened {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
            return Ok(String::new());
        }
        Err(error) => return Err(error).attempt_with(|| format!("opening /{path} of the image")),
    };
    if !file.metadata().attempt_with(|| format!("looking at /{path} of the image"))?.is_file() {
        return Ok(String::new());
    }
    let bytes = durable::read_bounded(file, FILE_BYTES_MAX)
        .attempt_with(|| format!("reading /{path} of the image"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/srv:/bin/sh\nevil:x:4294967296:0::/:\n";
    const GROUP: &str = "root:x:0:\nweb:x:102:\nextra:x:7:web,other\n";

    #[test]
    fn names_and_numbers_resolve_as_docker_does() {
        let web = Account { uid: 101, gid: 102, groups: vec![7], home: Some("/srv".into()) };
        assert_eq!(resolve(PASSWD, GROUP, "web").unwrap(), web);
        assert_eq!(resolve(PASSWD, GROUP, "101").unwrap(), web);
        assert_eq!(resolve(PASSWD, GROUP, "").unwrap().home.unwrap(), "/root");
        let with_group = resolve(PASSWD, GROUP, "web:extra").unwrap();
        assert_eq!((with_group.gid, with_group.groups), (7, vec![]));
        let unknown = Account { uid: 5000, ..Account::default() };
        assert_eq!(resolve(PASSWD, GROUP, "5000").unwrap(), unknown);
    }

    #[test]
    fn overflow_and_unknown_names_never_become_root() {
        for bad in
            ["4294967296", "-1", "4294967295", "2147483648", "nobody", "evil", "web:nogroup", "0:4294967296"]
        {
            assert!(resolve(PASSWD, GROUP, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwd_link_out_of_the_image_is_read_inside_it() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("rootfs/etc");
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::write(dir.path().join("passwd"), "host:x:77:77::/:\n").unwrap();
        std::os::unix::fs::symlink("../../passwd", etc.join("passwd")).unwrap();
        assert!(resolve_user(&dir.path().join("rootfs"), "host").is_err());
        assert_eq!(resolve_user(&dir.path().join("rootfs"), "5").unwrap().uid, 5);
    }
}
