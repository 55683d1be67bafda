//! The static token file (`--token-auth-file`): `token,user,uid[,"group1,group2"]`, one a line.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};
use smol_str::SmolStr;

use crate::types::UserInfo;

/// A file that cannot be used; tokens are never shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenFileError {
    /// Too few columns.
    #[error(
        "token file must have at least 3 columns (token, user name, user uid), found {found} in line {line}"
    )]
    Columns {
        /// The line, from 1.
        line: usize,
        /// Its columns.
        found: usize,
    },
    /// An empty token.
    #[error("empty token has been found in token file (line {0})")]
    Empty(usize),
    /// A quote that is not closed.
    #[error("a quote is not closed in line {0} of the token file")]
    Quote(usize),
}

/// Users by their tokens' digests, so that looking one up takes the same time for near and far misses.
#[derive(Clone, Default)]
pub struct StaticTokens {
    users: HashMap<[u8; 32], UserInfo>,
}

impl std::fmt::Debug for StaticTokens {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("StaticTokens").field("users", &self.users.len()).finish()
    }
}

impl StaticTokens {
    /// Reads the file's text. As upstream, of two lines with one token the later counts.
    ///
    /// # Errors
    /// [`TokenFileError`].
    pub fn parse(text: &str) -> Result<Self, TokenFileError> {
        let mut users = HashMap::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let line_number = at + 1;
            let columns = columns(line).ok_or(TokenFileError::Quote(line_number))?;
            let [token, name, uid, rest @ ..] = columns.as_slice() else {
                return Err(TokenFileError::Columns { line: line_number, found: columns.len() });
            };
            if token.is_empty() {
                return Err(TokenFileError::Empty(line_number));
            }
            let groups = rest.first().map(String::as_str).unwrap_or_default();
            let groups = groups.split(',').filter(|group| !group.is_empty()).map(SmolStr::from).collect();
            let user = UserInfo { name: name.into(), uid: uid.into(), groups, ..UserInfo::default() };
            users.insert(Sha256::digest(token.as_bytes()).into(), user);
        }
        Ok(Self { users })
    }

    /// Whose token it is.
    pub fn find(&self, token: &str) -> Option<UserInfo> {
        if self.users.is_empty() {
            return None;
        }
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        self.users.get(&digest).cloned()
    }
}

/// The columns of a line of comma separated values; none where a quote stays open.
fn columns(line: &str) -> Option<Vec<String>> {
    let mut columns = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        let last = columns.last_mut()?;
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                last.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => columns.push(String::new()),
            c => last.push(c),
        }
    }
    (!quoted).then_some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_users_and_groups() {
        let tokens = StaticTokens::parse("abc,jane,7,\"devs,ops\"\n\ndef,joe,8\n").unwrap();
        let jane = tokens.find("abc").unwrap();
        assert_eq!((jane.name.as_str(), jane.uid.as_str()), ("jane", "7"));
        assert_eq!(jane.groups, ["devs", "ops"]);
        assert!(tokens.find("def").unwrap().groups.is_empty());
        assert!(tokens.find("ab").is_none());
        assert!(!format!("{tokens:?}").contains("abc"));
    }

    #[test]
    fn wrong_lines_are_named() {
        assert_eq!(StaticTokens::parse("a,b").unwrap_err(), TokenFileError::Columns { line: 1, found: 2 });
        assert_eq!(StaticTokens::parse("\n,b,c").unwrap_err(), TokenFileError::Empty(2));
        assert_eq!(StaticTokens::parse("a,b,\"c").unwrap_err(), TokenFileError::Quote(1));
    }
}
