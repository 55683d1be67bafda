//! The one transaction that turns one ruleset into another. Pure.

use std::collections::BTreeMap;

use super::ruleset::{Ruleset, push};

/// nft commands that change `old` into `new`; empty where nothing changed.
///
/// The order inside the transaction matters: what refers to something goes before it, what is referred to comes first.
pub fn delta(table: &str, old: &Ruleset, new: &Ruleset) -> String {
    let mut text = String::new();
    for ((map, key), _) in changed(&new.elements, &old.elements) {
        push(&mut text, format_args!("delete element ip {table} {} {{ {key} }}\n", map.name()));
    }
    for (name, body) in changed(&old.sets, &new.sets) {
        if old.sets.contains_key(name) {
            continue; // only the timeout differs; a set cannot be changed in place, see `needs_full_load`
        }
        push(&mut text, format_args!("add set ip {table} {name} {{ {body} }}\n"));
    }
    for name in new.chains.keys().filter(|name| !old.chains.contains_key(*name)) {
        push(&mut text, format_args!("add chain ip {table} {name}\n"));
    }
    for (name, rules) in changed(&old.chains, &new.chains) {
        if old.chains.contains_key(name) {
            push(&mut text, format_args!("flush chain ip {table} {name}\n"));
        }
        for rule in rules {
            push(&mut text, format_args!("add rule ip {table} {name} {rule}\n"));
        }
    }
    for ((map, key), verdict) in changed(&old.elements, &new.elements) {
        push(&mut text, format_args!("add element ip {table} {} {{ {key} : {verdict} }}\n", map.name()));
    }
    let gone: Vec<_> = old.chains.keys().filter(|name| !new.chains.contains_key(*name)).collect();
    for name in &gone {
        push(&mut text, format_args!("flush chain ip {table} {name}\n"));
    }
    for name in &gone {
        push(&mut text, format_args!("delete chain ip {table} {name}\n"));
    }
    for name in old.sets.keys().filter(|name| !new.sets.contains_key(*name)) {
        push(&mut text, format_args!("delete set ip {table} {name}\n"));
    }
    text
}

/// Whether a set changed its body, which nft cannot do in place.
pub(crate) fn needs_full_load(old: &Ruleset, new: &Ruleset) -> bool {
    new.sets.iter().any(|(name, body)| old.sets.get(name).is_some_and(|held| held != body))
}

/// Entries of `new` that `old` lacks or holds differently.
fn changed<'a, K: Ord, V: PartialEq>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    new.iter().filter(|(key, value)| old.get(*key) != Some(*value))
}
