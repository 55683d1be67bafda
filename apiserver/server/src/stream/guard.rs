//! Which addresses a proxy may reach. Pure.

use std::net::IpAddr;

/// Upstream's error for an address that no pod or service can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("address not allowed")]
pub struct AddressNotAllowed;

/// Refuses loopback, link-local (where clouds serve credentials), multicast and unspecified addresses, also when
/// they are written as IPv4-mapped IPv6.
pub fn check_address(address: IpAddr) -> Result<(), AddressNotAllowed> {
    let address = address.to_canonical();
    let refused = match address {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_unspecified()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified()
        }
    };
    if refused { Err(AddressNotAllowed) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_control_plane_and_of_metadata_services_are_refused() {
        for refused in [
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
        ] {
            assert!(check_address(refused.parse().unwrap()).is_err(), "{refused}");
        }
        for allowed in ["10.244.0.7", "192.168.1.1", "fd00::1"] {
            assert!(check_address(allowed.parse().unwrap()).is_ok(), "{allowed}");
        }
    }
}
