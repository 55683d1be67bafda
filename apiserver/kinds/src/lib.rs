//! `mainstay-apiserver-kinds`: see docs/ARCHITECTURE.md.
