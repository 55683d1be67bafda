//! URLs, addresses and ranges of addresses.

use super::dispatch::{Called, text};
use crate::eval::failed;
use crate::value::Val;
use smol_str::SmolStr;
use std::net::IpAddr;

pub(super) fn call<'a>(function: &str, _is_member: bool, args: &[Val<'a>]) -> Option<Called<'a>> {
    Some(match (function, args) {
        ("url", [Val::Str(value)]) if is_url(value) => Ok(Val::Url(value.clone())),
        ("url", [Val::Str(value)]) => {
            failed(format!("URL parse error during conversion from string: {value}"))
        }
        ("isURL", [Val::Str(value)]) => Ok(Val::Bool(is_url(value))),
        (name, [Val::Url(url)]) => return url_part(name, url),
        ("ip", [Val::Str(value)]) => address(value).map_or_else(
            || failed(format!("IP Address {value:?} parse error during conversion from string")),
            |address| Ok(Val::Ip(address)),
        ),
        ("isIP", [Val::Str(value)]) => Ok(Val::Bool(address(value).is_some())),
        ("ip.isCanonical", [Val::Str(value)]) => match address(value) {
            Some(address) => Ok(Val::Bool(address.to_string() == value.as_str())),
            None => failed(format!("IP Address {value:?} parse error during conversion from string")),
        },
        (name, [Val::Ip(address)]) => return address_part(name, *address),
        ("cidr", [Val::Str(value)]) => range(value).map_or_else(
            || failed(format!("network address parse error during conversion from string: {value}")),
            |(address, bits)| Ok(Val::Cidr(address, bits)),
        ),
        ("isCIDR", [Val::Str(value)]) => Ok(Val::Bool(range(value).is_some())),
        ("containsIP", [Val::Cidr(base, bits), inner]) => match inner {
            Val::Ip(inner) => Ok(Val::Bool(covers((*base, *bits), *inner))),
            Val::Str(inner) => match address(inner) {
                Some(inner) => Ok(Val::Bool(covers((*base, *bits), inner))),
                None => failed(format!("IP Address {inner:?} parse error during conversion from string")),
            },
            _ => failed("no such overload"),
        },
        ("containsCIDR", [Val::Cidr(base, bits), inner]) => {
            let inner = match inner {
                Val::Cidr(inner, inner_bits) => Some((*inner, *inner_bits)),
                Val::Str(inner) => range(inner),
                _ => None,
            };
            match inner {
                Some((inner, inner_bits)) => {
                    Ok(Val::Bool(*bits <= inner_bits && covers((*base, *bits), inner)))
                }
                None => failed("network address parse error during conversion from string"),
            }
        }
        ("ip", [Val::Cidr(base, _)]) => Ok(Val::Ip(*base)),
        ("masked", [Val::Cidr(base, bits)]) => Ok(Val::Cidr(masked(*base, *bits), *bits)),
        ("prefixLength", [Val::Cidr(_, bits)]) => Ok(Val::Int(i64::from(*bits))),
        _ => return None,
    })
}

/// An absolute URL, or an absolute path.
fn is_url(value: &str) -> bool {
    if value.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return false;
    }
    if value.starts_with('/') {
        return true;
    }
    value.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
            && !rest.is_empty()
            && port_of(authority(value)).is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()))
    })
}

fn authority(url: &str) -> &str {
    let Some((_, rest)) = url.split_once("://") else { return "" };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

fn port_of(host: &str) -> Option<&str> {
    let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
    after.rsplit_once(':').map(|(_, port)| port)
}

fn url_part<'a>(function: &str, url: &SmolStr) -> Option<Called<'a>> {
    let host = authority(url);
    let after_host = url.split_once("://").map_or(url.as_str(), |(_, rest)| {
        rest.find(['/', '?', '#']).and_then(|at| rest.get(at..)).unwrap_or_default()
    });
    let path_end = after_host.find(['?', '#']).unwrap_or(after_host.len());
    Some(Ok(match function {
        "getScheme" if url.starts_with('/') => text(""),
        "getScheme" => text(url.split_once(':').map_or("", |(scheme, _)| scheme)),
        "getHost" => text(host),
        "getHostname" => {
            let name = match port_of(host) {
                Some(port) => host.get(..host.len() - port.len() - 1).unwrap_or_default(),
                None => host,
            };
            text(name.trim_start_matches('[').trim_end_matches(']'))
        }
        "getPort" => text(port_of(host).unwrap_or_default()),
        "getEscapedPath" => text(after_host.get(..path_end).unwrap_or_default()),
        "getQuery" => query(after_host.get(path_end..).unwrap_or_default()),
        _ => return None,
    }))
}

fn query<'a>(tail: &str) -> Val<'a> {
    let tail = tail.split('#').next().unwrap_or_default().trim_start_matches('?');
    let mut pairs: Vec<(SmolStr, Vec<Val<'a>>)> = Vec::new();
    for part in tail.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match pairs.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(text(value)),
            None => pairs.push((name.into(), vec![text(value)])),
        }
    }
    Val::Map(pairs.into_iter().map(|(name, values)| (Val::Str(name), Val::list(values))).collect())
}

/// An address; IPv4 addresses in IPv6 notation and zones are none, as upstream has it.
fn address(value: &str) -> Option<IpAddr> {
    let address: IpAddr = value.parse().ok()?;
    match address {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => None,
        other => Some(other),
    }
}

fn range(value: &str) -> Option<(IpAddr, u8)> {
    let (base, bits) = value.split_once('/')?;
    let base = address(base)?;
    let max = if base.is_ipv4() { 32 } else { 128 };
    let leading = bits.len() > 1 && bits.starts_with('0');
    let bits: u8 = bits.parse().ok().filter(|bits| *bits <= max && !leading)?;
    Some((base, bits))
}

fn masked(base: IpAddr, bits: u8) -> IpAddr {
    match base {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or_default();
            IpAddr::V4((u32::from(four) & mask).into())
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or_default();
            IpAddr::V6((u128::from(six) & mask).into())
        }
    }
}

fn covers((base, bits): (IpAddr, u8), inner: IpAddr) -> bool {
    base.is_ipv4() == inner.is_ipv4() && masked(base, bits) == masked(inner, bits)
}

fn address_part<'a>(function: &str, address: IpAddr) -> Option<Called<'a>> {
    Some(Ok(match function {
        "family" => Val::Int(if address.is_ipv4() { 4 } else { 6 }),
        "isUnspecified" => Val::Bool(address.is_unspecified()),
        "isLoopback" => Val::Bool(address.is_loopback()),
        "isLinkLocalMulticast" => Val::Bool(match address {
            IpAddr::V4(four) => four.octets().starts_with(&[224, 0, 0]),
            IpAddr::V6(six) => six.segments().first().is_some_and(|first| first & 0xff0f == 0xff02),
        }),
        "isLinkLocalUnicast" => Val::Bool(link_local(address)),
        "isGlobalUnicast" => Val::Bool(
            !(address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || link_local(address)
                || matches!(address, IpAddr::V4(four) if four.is_broadcast())),
        ),
        _ => return None,
    }))
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    }
}
