//! `mainstay-apiserver-server`: see docs/ARCHITECTURE.md.
