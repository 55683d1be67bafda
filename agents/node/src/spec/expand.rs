//! `$(VAR)` expansion in commands, arguments, environment values and `subPathExpr`.
//! Follows upstream's rules: `$$` escapes, an unknown or malformed reference stays as written.

/// Expands every `$(name)` that `lookup` knows.
pub(crate) fn expand(input: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|body| body.split_once(')')) {
            if let Some(value) = lookup(name) {
                out.push_str(&value);
            } else {
                out.push_str("$(");
                out.push_str(name);
                out.push(')');
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Like [`expand`], but an unknown name is an error: what `subPathExpr` asks for. Gives the first missing name.
pub(crate) fn expand_strict(input: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let missing = std::cell::RefCell::new(None);
    let out = expand(input, &|name| {
        lookup(name).or_else(|| {
            missing.borrow_mut().get_or_insert_with(|| name.to_owned());
            None
        })
    });
    missing.into_inner().map_or(Ok(out), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(input: &str) -> String {
        expand(input, &|name| match name {
            "A" => Some("alpha".into()),
            "EMPTY" => Some(String::new()),
            "REF" => Some("$(A)".into()),
            _ => None,
        })
    }

    #[test]
    fn references_escapes_and_malformed_input_match_upstream() {
        for (input, want) in [
            ("$(A)", "alpha"),
            ("x$(A)y$(A)", "xalphayalpha"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$alpha"),
            ("$(B)", "$(B)"),
            ("$(EMPTY)", ""),
            ("$(REF)", "$(A)"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("cost: $", "cost: $"),
            ("$", "$"),
            ("", ""),
            ("$()", "$()"),
            ("ü$(A)ü", "üalphaü"),
        ] {
            assert_eq!(run(input), want, "input {input:?}");
        }
    }

    #[test]
    fn strict_names_the_first_missing_variable() {
        assert_eq!(expand_strict("$(X)/$(Y)", &|_| None), Err("X".to_owned()));
        assert_eq!(expand_strict("a/$(X)", &|_| Some("b".into())), Ok("a/b".to_owned()));
    }
}
