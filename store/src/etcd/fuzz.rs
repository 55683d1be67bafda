//! What fuzzers and tests feed with what clients send: requests, JSON, tokens. See [`crate::fuzz`].
use std::time::Duration;

use mainstay_proto_wire::etcd::etcdserverpb as pb;
use prost::Message as _;

use super::authority;
use super::convert;
use super::gateway::Gateway;
use super::jwt::{Jwt, JwtKeys};
use super::token_option::AuthTokens;
use crate::api::Limits;
use crate::mvcc::{Command, check_delete, check_put, check_range, check_txn, decode_command, encode_command};

/// A request: what is taken goes into the log and comes out of it as it was. The first byte chooses its kind.
///
/// # Panics
/// If a request that is taken cannot be written to the log.
pub(crate) fn request(bytes: &[u8]) {
    let Some((kind, message)) = bytes.split_first() else { return };
    let limits = Limits::default();
    let command = match kind % 4 {
        0 => {
            let range = pb::RangeRequest::decode(message).ok().and_then(|range| convert::range(&range).ok());
            if let Some(range) = range {
                drop(check_range(&range));
            }
            return;
        }
        1 => pb::PutRequest::decode(message)
            .ok()
            .map(|put| convert::put(&put))
            .filter(|put| check_put(put, &limits).is_ok())
            .map(Command::Put),
        2 => pb::DeleteRangeRequest::decode(message)
            .ok()
            .and_then(|delete| convert::delete(&delete).ok())
            .filter(|delete| check_delete(delete, &limits).is_ok())
            .map(Command::DeleteRange),
        _ => pb::TxnRequest::decode(message)
            .ok()
            .and_then(|txn| convert::txn(&txn, limits.txn_depth_max).ok())
            .filter(|txn| check_txn(txn, &limits).is_ok())
            .map(Command::Txn),
    };
    let Some(command) = command else { return };
    let mut written = Vec::new();
    encode_command(&command, &mut written);
    assert_eq!(decode_command(&written).as_ref(), Ok(&command), "what was taken is what the log holds");
}

/// JSON for the gateway: the first byte chooses the method.
pub(crate) fn json(bytes: &[u8]) {
    thread_local! {
        static GATEWAY: Gateway = Gateway::new(1 << 20);
    }
    let Some((method, json)) = bytes.split_first() else { return };
    GATEWAY.with(|gateway| gateway.take_in(usize::from(*method), json));
}

/// A token, and the option that says which tokens there are.
pub(crate) fn token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Keys are files, which a fuzzer must not name.
    if !text.contains("-key") {
        drop(AuthTokens::parse(text));
    }
    let keys = JwtKeys { private: Some(b"a shared secret".to_vec()), public: None };
    if let Ok(jwt) = Jwt::new("HS256", &keys, Duration::from_secs(60)) {
        assert!(jwt.caller(text).is_none(), "nobody signed this");
    }
}

/// A connection's bytes: their number stays, and what comes out does not depend on the pieces in which they come. The first byte chooses those.
pub(crate) fn authority(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let whole = authority::passed(bytes, usize::MAX);
    assert_eq!(whole.len(), bytes.len(), "no byte more or less");
    assert_eq!(authority::passed(bytes, usize::from(*piece)), whole, "in pieces");
}
