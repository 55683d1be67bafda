//! Objects every cluster starts with, and the assembly of the gates and endpoints.
