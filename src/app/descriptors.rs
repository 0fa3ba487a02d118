//! How many files may this process have open?
//!
//! Each connection is one. Many systems let a process begin with 1,024, which is what old programs can count,
//! and raise that by itself to many more. At the limit nothing is accepted any more, and no connection makes
//! room for another: so it is raised to what the configuration may need, and where that cannot be, it is said.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Files beside the connections: those of the spool, Kafka's connections, clients that wait for a place.
const OTHERS: u64 = 4_096;

/// Lets so many connections be open.
pub fn allow(connections: usize) {
    let needed = connections as u64 + OTHERS;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|files| files >= needed) {
        return;
    }
    let most = limit.maximum.map_or(needed, |most| most.min(needed));
    limit.current = Some(most);
    let raised = setrlimit(Resource::Nofile, limit);
    if raised.is_err() || most < needed {
        tracing::warn!(
            "{connections} connections may be open (max_connections under [ingest]), and with all else \
             {needed} files; this process may have {most}: raise the limit (LimitNOFILE of the service, ulimit -Hn), \
             or lower max_connections"
        );
    }
}
