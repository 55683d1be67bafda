//! Allocation of cluster addresses and node ports for Services.
