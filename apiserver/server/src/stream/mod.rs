//! Streaming to the node agent: exec, attach, logs, port-forward, proxy.
